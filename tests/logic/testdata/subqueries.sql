-- Subqueries in conditions, with NULLs on either side.
create table c (id int primary key, r int, t text);
create table o (id int primary key, cid int not null, v int, t text);
create index on o (cid);
insert into c select g, nullif(g % 5, 0), chr(97 + g % 7) from generate_series(1, 40) g;
insert into o select g, g % 30 + 1, nullif(g % 6, 3), nullif(chr(97 + g % 9), 'd') from generate_series(1, 90) g;
create table e (k int, t text);

-- Correlated: no row, rows without NULLs, rows with.
select id from c where r not in (select v from o where o.cid = c.id) order by id;
select id from c where r <> all (select v from o where o.cid = c.id) order by id;
select id from c where r > all (select v from o where o.cid = c.id) order by id;
select id from c where not r > all (select v from o where o.cid = c.id) order by id;
select id from c where not r < any (select v from o where o.cid = c.id) order by id;
select id from c where t not in (select t from o where o.cid = c.id and o.v > 1) order by id;
select id from c where (r, t) not in (select v, t from o where o.cid = c.id) order by id;
select id from c where r not in (select v from o where o.cid = c.id and c.t > 'c') order by id;
select id from c where r not in (select v from o where o.id < c.id) order by id;
select id from c where r not in (select v + c.r from o where o.cid = c.id order by v) order by id;
select id from c where 2 not in (select v from o where o.cid = c.id) order by id;
select id from c where null not in (select v from o where o.cid = c.id) order by id;
select a.id, b.id from c a left join c b on b.id = a.id + 25 where b.id not in (select v from o where o.cid = b.id) order by 1;
select a.id, b.id from c a left join c b on b.id = a.id + 25 and b.r not in (select v from o where o.cid = b.id) where a.id > 10 order by 1;

-- Not correlated: compared with a set of more than a few values.
select id from c where r not in (select v from o) order by id;
select id from c where r not in (select v from o where v is not null and v <> 2) order by id;
select id, r in (select v from o), r not in (select v from o where v <> 4), r = any (select v from o where v > 2) from c where id < 12 order by id;
select id, t in (select t from o), t <> all (select t from o where t is not null), t not in (select t from o where t > 'f') from c where id < 12 order by id;
select id, r not in (select k from e), null::int in (select k from e), null::int in (select v from o) from c where id < 3 order by id;
select id from c where id not in (select cid from o) order by id;
select id from c where id <> all (select cid from o where v > 1) order by id;
select id from c where r::bigint not in (select v::smallint from o where v < 4) order by id;
select count(*) from c a left join c b on b.id = a.id + 25 where b.id not in (select cid from o);
select id from c where r::numeric not in (select v::numeric / 2 from o where v is not null) order by id;

-- A subquery that is written twice is one.
select (select max(v) from o where o.cid = c.id) m, count(*) from c group by (select max(v) from o where o.cid = c.id) order by 1;
select distinct on ((select max(v) from o where cid = c.id)) id from c order by (select max(v) from o where cid = c.id), id;
select distinct (select min(v) from o where cid = c.id) from c order by (select min(v) from o where cid = c.id);
select exists (select from o where cid = c.id and v = 4) x, count(*) from c group by exists (select from o where cid = c.id and v = 4) order by x;
select r in (select v from o where cid = c.id) x, count(*) from c group by r in (select v from o where cid = c.id) order by x;

-- Whatever is on the other side of a join with nothing is not computed.
-- known: PostgreSQL makes the hash table of e and reads a row of the other side first
select * from e join (select o.id, 10 / (o.id - o.id) z from o offset 0) s on s.id = e.k;
-- known: PostgreSQL makes the hash table of e and reads a row of the other side first
select * from e left join (select o.id, 10 / (o.id - o.id) z from o offset 0) s on s.id = e.k;
select * from e left join (select o.id, 10 / (o.id - o.id) z from o offset 0) s on s.id < e.k;

-- What nobody reads of a subquery is computed nevertheless if it may do something.
CREATE SEQUENCE unread;
SELECT count(*) FROM (SELECT nextval('unread') FROM generate_series(1, 5)) x;
SELECT nextval('unread');
SELECT g FROM (SELECT g, nextval('unread') AS n FROM generate_series(1, 3) g) x WHERE g > 1;
SELECT nextval('unread');
SELECT sum(g) FROM (SELECT g, nextval('unread') AS n FROM generate_series(1, 3) g) x;
SELECT nextval('unread');
SELECT x.g FROM (SELECT g, nextval('unread') AS n FROM generate_series(1, 2) g) x JOIN generate_series(1, 2) y ON x.g = y;
SELECT nextval('unread');
WITH c AS (SELECT nextval('unread') AS n FROM generate_series(1, 2)) SELECT 1 FROM c;
SELECT nextval('unread');
SELECT 1 FROM (SELECT nextval('unread') UNION ALL SELECT nextval('unread')) x;
SELECT nextval('unread');
SELECT 1 FROM (SELECT nextval('unread') AS n FROM generate_series(1, 3) ORDER BY n LIMIT 2) x;
SELECT nextval('unread');
SELECT EXISTS (SELECT nextval('unread') FROM generate_series(1, 5));
SELECT nextval('unread');
SELECT count(*) FROM (SELECT DISTINCT nextval('unread') > 0 FROM generate_series(1, 3)) x;
SELECT nextval('unread');
DROP SEQUENCE unread;

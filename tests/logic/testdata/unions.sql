-- Conditions with OR over several indexes: each row comes once, whatever arms are true for it.
create table ua (id int primary key, a int, b int, c text, d int not null);
create index ua_a on ua (a);
create index ua_b on ua (b, d);
create unique index ua_c on ua (c);
insert into ua select g, nullif(g % 50, 7), nullif(g % 31, 5), 'c' || g, (g * 7) % 100 from generate_series(1, 3000) g;
analyze ua;
select id from ua where a = 3 or b = 4 order by id limit 8;
select count(*), count(distinct id), sum(d) from ua where a = 3 or b = 4;
select count(*), count(distinct id), sum(d) from ua where b = 4 or a = 3 or id = 3 or c = 'c4' or id = 4;
select count(*), sum(id) from ua where a = 1 or a = 2 and b = 3;
select count(*), sum(id) from ua where a = 1 or a in (2, 3) or b in (4, 6) or c = 'c2999';
select count(*), sum(id) from ua where (a = 1 or b = 2) and d > 50;
select count(*), sum(id) from ua where (a = 1 or b = 2) and (a = 1 or c = 'c2');
select count(*), sum(id) from ua where (a = 1 or b = 2) and d < 30 or c between 'c10' and 'c12' or id < 5;
select count(*), sum(id) from ua where id < 10 or id > 2990 or id between 5 and 20;
select count(*), sum(id) from ua where a is null or b is null;
select count(*), sum(id) from ua where a is null and d < 10 or b = 5 or b is null and a = 3;
select count(*), sum(id) from ua where a = null or b = 2;
select count(*), sum(id) from ua where not (a <> 3 and b <> 4);
select count(*), sum(id) from ua where a = 1 or false or b = 1;
select count(*), sum(id) from ua where a = 1 or true;
select id, c from ua where c = 'c77' or id = 77;
select id from ua where (a = 3 or b = 4) order by b, d desc, id limit 5 offset 2;
select id from ua where a = 3 or c like 'c29%' order by id desc limit 5;
select b, count(*) from ua where a = 3 or a = 4 or b = 9 group by b order by b nulls first limit 4;
select x.id, y.id from ua x join ua y on y.id = x.id + 1 where (x.a = 3 or x.b = 4) and x.d > 90 order by 1;
select x.id from ua x where x.id < 40 and exists (select from ua y where y.a = x.id or y.b = x.id) order by 1;
select x.id, (select count(*) from ua y where y.a = x.id or y.b = x.id) from ua x where x.id in (3, 5, 7, 31, 49) order by 1;
-- An arm that fails for rows of an earlier arm is not asked about them.
select count(*) from ua where id = 7 or a = 8 and 10 / (id - 8) > 0 and id <> 8;
select count(*) from ua where id = 8 or a = 8 and 10 / (id - 8) > 0;
select count(*) from ua where a = 8 and 10 / (id - 8) > 0 or id = 8;
-- extended
-- args 3|4
select count(*), sum(id) from ua where a = $1::int or b = $2::int;
-- extended
-- args 3|NULL
select count(*), sum(id) from ua where a = $1::int or b = $2::int;
-- extended
-- args 3|3
select count(*), sum(id) from ua where a = $1::int or b = $2::int or a = $2::int;
-- What the transaction has written itself.
begin;
insert into ua values (5001, 3, 4, 'c5001', 1), (5002, 99, 4, 'c5002', 1), (5003, 99, 98, 'c5003', 1);
update ua set a = 99 where id = 3;
delete from ua where id = 4;
select count(*), count(distinct id), sum(id) from ua where a = 3 or b = 4;
select id from ua where a = 99 or b = 98 or c = 'c4' or id = 5001 order by id;
update ua set d = d + 1000 where a = 99 or b = 98 or id = 5001;
select id, d from ua where a = 99 or b = 98 or id = 5001 order by id;
-- Every row is changed once, also where the change makes another arm true.
-- unordered
update ua set b = 97, d = d + 1 where a = 99 or b = 97 returning id, b, d;
-- unordered
delete from ua where a = 99 or b = 97 returning id;
rollback;
select id from ua where a = 3 and d < 20 or id = 5 order by id for update;
begin;
select id from ua where (a = 3 or b = 4) and d < 5 order by id limit 2 for update;
select id from ua where id = 1010 or id > 2998 or c = 'c1017' order by id for update skip locked;
commit;
delete from ua where a = 3 or b = 4;
select count(*), sum(id) from ua;
drop table ua;

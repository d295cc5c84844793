-- Partial indexes: which rows they hold, what is unique in them, which queries they serve, and how they are shown.
create table pt (id int primary key, slug text not null, del timestamptz, st text, n int, ok bool);
insert into pt select g, 's' || (g % 10), case when g % 3 = 0 then null else timestamptz '2024-01-01 00:00:00+00' end, case when g % 2 = 0 then 'open' else 'x' end, g, g % 4 = 0 from generate_series(1, 9) g;
create unique index pt_u on pt (slug) where del is null;
create index pt_n on pt (n) where st = 'open';
create index pt_in on pt (n) where st in ('open', 'x') and n > 3;
create index pt_ok on pt using btree (slug desc nulls last) include (n) where ok;
-- known: AND in a condition has parentheses that PostgreSQL leaves out for people
select pg_get_indexdef(indexrelid), pg_get_indexdef(indexrelid, 0, true), pg_get_expr(indpred, indrelid), indisunique from pg_index where indrelid = 'pt'::regclass order by 1;
select indexname, indexdef from pg_indexes where tablename = 'pt' order by 1;
select relname, indexrelname, schemaname, con.contype from pg_stat_user_indexes idx left join pg_constraint con on con.conindid = idx.indexrelid where relname = 'pt' order by 2;
-- A row without an entry is in nobody's way.
insert into pt values (20, 's3', null, 'open', 5);
insert into pt values (20, 's3', '2024-01-01 00:00:00+00', 'open', 5, true);
insert into pt values (21, 's3', '2024-01-01 00:00:00+00', 'x', 5, true), (22, 's3', '2024-01-01 00:00:00+00', null, 6, false);
update pt set del = null where id = 20;
update pt set del = null where id in (20, 21) and id <> 20;
-- Nor does it take the entry of another one away.
delete from pt where id = 22;
select id from pt where slug = 's3' and del is null;
insert into pt values (22, 's3', null, 'open', 5);
-- Rows come and go.
begin;
savepoint a;
update pt set del = null where id = 20;
rollback to a;
update pt set del = '2024-01-02 00:00:00+00' where id = 3;
select count(*) from pt where slug = 's3' and del is null;
update pt set del = null where id = 20 returning id, slug;
select id from pt where slug = 's3' and del is null;
commit;
update pt set del = null where id = 21;
update pt set slug = 's33' where slug = 's3' and del is null returning id;
update pt set del = null where id = 21 returning id;
update pt set slug = 's33' where id = 21;
update pt set st = case st when 'open' then 'x' else 'open' end, n = n + 1;
select id, n from pt where st = 'open' and n > 4 order by n, id;
select id, n from pt where st = 'x' and n between 4 and 8 order by n, id;
select id, n from pt where st = 'open' or st = 'x' and n > 4 order by n, id;
select id, n from pt where (st = 'open' or st = 'x') and n > 6 order by n, id;
select id, slug, n from pt where ok order by slug desc, id;
select id, slug, n from pt where ok = true and slug > 's2' order by slug desc, id;
select id from pt where ok is true order by id;
select id from pt where st = null and n = 5;
select count(*) from pt where del is null;
select count(*) from pt where del is not null;
select a.id, b.id from pt a join pt b on b.slug = a.slug and b.del is null where a.id > 5 order by 1, 2;
select a.id, b.id from pt a left join pt b on b.slug = a.slug and b.st = 'open' and b.n > 3 where a.id > 5 order by 1, 2;
select id from pt where slug = 's33' and del is null for update;
select id from pt where st = 'open' order by n desc, id limit 2 for update skip locked;
-- extended
-- args s33
select id from pt where slug = $1 and del is null;
-- extended
-- args open|5
select id from pt where st = $1::text and n > $2::int order by id;
-- ON CONFLICT
insert into pt values (30, 's33', null, 'a', 1) on conflict (slug) do nothing;
insert into pt values (30, 's33', null, 'a', 1) on conflict (slug) where del is null do nothing;
insert into pt values (30, 's33', null, 'a', 1) on conflict (slug) where del is null do update set st = 'up', n = excluded.n + pt.n returning id, slug, st, n;
insert into pt values (31, 's33', '2024-01-03 00:00:00+00', 'a', 1) on conflict (slug) where del is null do update set st = 'up' returning id, slug, st, n;
insert into pt values (32, 's33', null, 'a', 1) on conflict do nothing;
insert into pt values (33, 's33', null, 'a', 1) on conflict (slug) where del is null and id > 3 do nothing;
insert into pt values (33, 's33', null, 'a', 1) on conflict (slug) where id > 3 do nothing;
insert into pt values (33, 's33', null, 'a', 1) on conflict (slug) where nosuch do nothing;
-- known: the condition is looked at although nothing else fits
insert into pt values (33, 's33', null, 'a', 1) on conflict (slug) where slug do nothing;
insert into pt values (34, 's44', null, 'a', 1), (35, 's44', null, 'b', 1) on conflict (slug) where del is null do update set st = excluded.st;
insert into pt values (34, 's44', null, 'a', 1), (35, 's44', '2024-01-03 00:00:00+00', 'b', 1) on conflict (slug) where del is null do update set st = excluded.st returning id;
insert into pt values (36, 's44', null, 'a', 1) on conflict (slug) where del is null do update set del = '2024-01-04 00:00:00+00' returning id, del;
insert into pt values (36, 's44', null, 'a', 1) on conflict (slug) where del is null do update set del = '2024-01-04 00:00:00+00' returning id, del;
-- Foreign keys do not rest on them, nor look by them.
create table ptc (id int, slug text references pt (slug));
create table ptc (id int, pid int references pt on delete cascade, gone bool);
create index on ptc (pid) where not gone;
insert into ptc values (1, 1, true), (2, 1, false), (3, 2, null);
delete from pt where id in (1, 2);
select * from ptc;
-- What can be in a predicate.
create unique index on pt (slug) where id > 3;
-- known: a hint
create index pt_now on pt (slug) where now() > del;
create index on pt (slug) where (select true);
create index on pt (slug) where count(*) > 1;
create index on pt (slug) where row_number() over () > 1;
create index on pt (slug) where generate_series(1, 2) > 1;
create index on pt (slug) where slug;
create index on pt (slug) where nosuch > 1;
create index on pt (slug) where lower(slug) = 'a' or id in (1, 2, 3) or n * 2 > id;
create index on pt (slug) where pt.st ~ '^o' and pt.n is distinct from 4;
select indexdef from pg_indexes where tablename = 'pt' and indexdef like '%WHERE%' order by 1;
-- Columns of one.
alter table pt rename column del to "deleted At";
select indexdef from pg_indexes where indexname = 'pt_u';
insert into pt values (40, 's33', null, 'a', 1);
select id from pt where slug = 's33' and "deleted At" is null;
alter table pt alter column n type bigint;
-- known: the literals of the condition are read as the new type
alter table pt alter column st type int using length(st);
select id from pt where slug = 's33' and "deleted At" is null;
alter table pt drop column st;
select indexname from pg_indexes where tablename = 'pt' order by 1;
alter table pt drop column "deleted At";
select indexname from pg_indexes where tablename = 'pt' order by 1;
insert into pt values (40, 's33', 1);
truncate pt cascade;
insert into pt values (1, 'a', 1, true), (2, 'a', 1, false), (3, 'b', 1, true);
select id from pt where ok and slug >= 'a' order by slug, id;
drop table pt cascade;
-- Tables without a primary key, of many columns, with a constraint besides.
create table pn (a int, b int, c int, unique (a, b));
create unique index pn_c on pn (c) where a is null;
insert into pn values (1, 1, 7), (2, 1, 7), (null, 1, 7);
insert into pn values (null, 2, 7);
insert into pn values (null, 2, 7) on conflict do nothing;
update pn set a = null where b = 1;
update pn set a = b + 4 where a is null;
insert into pn values (null, 2, 7);
select * from pn order by a, b;
create table pd (id int primary key, main bool not null default false, owner int);
create unique index pd_main on pd (owner) where main;
insert into pd values (1, true, 1), (2, false, 1), (3, true, 2);
update pd set main = (id = 2) where owner = 1;
update pd set main = true where id = 1;
select * from pd where main order by owner;
drop table pn, pd, ptc;

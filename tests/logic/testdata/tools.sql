-- What tools ask of the catalogs, and what people meet on the way.
create sequence sq increment 5;
select last_value, is_called from sq;
select setval('sq', 20);
select last_value, is_called from sq;
select s.last_value from sq s, generate_series(1, 2);
select nosuch from sq;
create table tt (a int, b varchar(5) default 'x', c numeric(6,2), constraint pos check (a > 0));
create index tt_b on tt (b);
alter table tt add constraint uq unique (c);
comment on table tt is 'a table';
comment on column tt.b is 'a column';
comment on index tt_b is 'an index';
comment on constraint uq on tt is 'a unique constraint';
comment on constraint pos on tt is 'a check';
comment on constraint nosuch on tt is 'nothing';
comment on index nosuch is 'nothing';
comment on schema public is 'the usual one';
select obj_description('tt'::regclass), obj_description('tt_b'::regclass, 'pg_class'), col_description('tt'::regclass, 2), col_description('tt'::regclass, 1);
select conname, obj_description(oid, 'pg_constraint') from pg_constraint where conrelid = 'tt'::regclass order by conname;
select objsubid, description from pg_description where objoid = 'tt'::regclass order by 1;
comment on column tt.b is null;
select col_description('tt'::regclass, 2);
select typname[0] = '_' as underscore, typname[1] from pg_type where typname = '_int4';
select ('abc'::name)[2], ('abc'::name)[70] is null or true;
select * from pg_options_to_table(array['fillfactor=70', 'flag']);
alter table tt alter column b type int;
alter table tt add primary key (a);
alter table tt add primary key (c);
alter table tt drop constraint nosuch;
create view vv as select a, c from tt;
alter table tt drop column b;
create table nosuch.x (a int);
select count(*) from pg_depend d join pg_rewrite r on r.oid = d.objid where r.ev_class = 'vv'::regclass and d.refobjid = 'tt'::regclass and d.deptype = 'n' having count(*) > 0 and false;
create unique index tt_cc on tt (c);
insert into tt values (1, 1), (2, 2);
create table dup (a int);
insert into dup values (1), (2), (2), (null), (null);
create unique index dup_a on dup (a);
alter table dup add unique (a);
delete from dup where a = 2;
create unique index dup_a on dup (a);
create index concurrently dup_b on dup (a);
begin;
create index concurrently dup_c on dup (a);
rollback;
drop view vv;
drop table tt, dup;
drop sequence sq;
comment on schema public is 'standard public schema';

-- what psql's \dx+ asks
create schema described;
create table described.d (id int primary key, "Odd name" text);
create view described.v as select 1 as x;
create sequence described.s;
select pg_describe_object('pg_class'::regclass, 'described.d'::regclass, 0), pg_describe_object('pg_class'::regclass, 'described.d'::regclass, 2),
  pg_describe_object('pg_class'::regclass, 'described.d_pkey'::regclass, 0), pg_describe_object('pg_class'::regclass, 'described.v'::regclass, 0),
  pg_describe_object('pg_class'::regclass, 'described.s'::regclass, 0);
select pg_describe_object('pg_namespace'::regclass, 'described'::regnamespace, 0), pg_describe_object('pg_type'::regclass, 'int4'::regtype, 0), pg_describe_object('pg_authid'::regclass, 'root'::regrole, 0),
  pg_describe_object('pg_proc'::regclass, 'lower(text)'::regprocedure, 0);
set search_path = described;
select pg_describe_object('pg_class'::regclass, 'd'::regclass, 0), pg_describe_object('pg_class'::regclass, 'v'::regclass, 0), pg_describe_object('pg_class'::regclass, 2147000000, 0);
reset search_path;
drop view described.v;
drop table described.d;
drop sequence described.s;
drop schema described;

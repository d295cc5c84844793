create table t (id serial primary key, a varchar(20) not null default 'x', b numeric(10,2), c timestamptz, d int[] , constraint t_b_check check (b > 0), unique (b));
create index t_a on t (a, b desc);
create view v as select id, a from t;
create table "Mixed Case" ("Col 1" int primary key, "select" text);
create schema if not exists sch;
drop table if exists sch.other;
create table sch.other (x int, y text);

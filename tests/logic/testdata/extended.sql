-- The extended protocol: inferred parameter types, column descriptions, binary forms.
create table x (id int primary key, name varchar(20), amt numeric(8,2), at timestamptz default '2024-01-01 00:00:00+00');
-- extended
select 1, 2::int2, 3::int8, 1.5::float4, 2.5::float8, true, 'a'::"char", 5::oid;
-- extended
select 'text', 'vc'::varchar(5), 'c'::char(4), 'n'::name, '\x0102'::bytea, ''::text, null::text;
-- extended
-- known: the display scale of a numeric infinity, which nobody reads
select 0::numeric, 1::numeric, -1.5::numeric, 12345678.90::numeric, 1e20::numeric, 1e-20::numeric, 'NaN'::numeric, 'Infinity'::numeric, 10000::numeric, 0.0001::numeric, 123.4500::numeric(20,4);
-- extended
select date '2024-02-29', date 'infinity', date '-infinity', date '0001-01-01', timestamp '2024-02-29 12:34:56.789', timestamp 'infinity', timestamptz '2024-02-29 12:34:56+02', time '12:34:56.5', timetz '12:34:56+02', interval '1 year 2 days 3.5 seconds', interval '-1 month';
-- extended
select 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{"a": 1}'::json, '{"a": [1, null]}'::jsonb, array[1,2,null], array[[1,2],[3,4]], array['a','b'], '{}'::int[], array[1.5, 2]::numeric[], array[true,false], '1 2 3'::int2vector, '1 2'::oidvector;
-- extended
-- known: a literal in a row is text, PostgreSQL says unknown; and another NaN
select row(1, 'a'), 'pg_class'::regclass, 'int4'::regtype, 'NaN'::float8, '-Infinity'::float4;
-- args 1
select $1::int + 1;
-- args 5|7
select $1 + $2::int, $2;
-- args abc
select $1;
-- args abc|3
select left($1, $2);
-- args 2024-01-01|1 day
select $1::timestamp + $2::interval;
-- args NULL
select $1::int is null;
-- args 1.5
select $1::numeric * 2;
-- args {1,2,3}|2
select $2 = any($1::int[]);
-- args x
select $1::int;
-- args 1
-- known: PostgreSQL decides on text too early; here the operator decides first
select $1, $1 + 1;
-- args 1
select $1::text, $1::int;
-- extended
-- known: PostgreSQL decides on text too early; here the comparison decides
select $1 from (values (1)) t(x) where x = $1;
-- extended
select now() is not null, current_user, version() is not null;
-- args 3
select generate_series(1, $1);
-- args 1|one|2.5
insert into x (id, name, amt) values ($1, $2, $3);
-- args 2|two|NULL
insert into x (id, name, amt) values ($1, $2, $3) returning id, name, amt, at;
-- args 1
select * from x where id = $1;
-- args o%
select id from x where name like $1;
-- args 1|2
select id, name from x where id between $1 and $2 order by id;
-- args 2|1
select id from x order by id limit $1 offset $2;
-- args 9.99|1
update x set amt = $1 where id = $2 returning amt;
-- args 1|up
insert into x (id, name) values ($1, $2) on conflict (id) do update set name = excluded.name;
-- args 2024-01-01 00:00:00+00
select count(*) from x where at = $1;
-- args much too long a name for it|1
update x set name = $1 where id = $2;
-- args 3
select name from x where id = $1 union all select name from x where id = $1;
-- args 1
select case when $1 = 1 then 'one' else 'many' end;
-- args a|b
select coalesce($1, $2), nullif($1, 'a'), greatest($1, $2);
-- args 1
select id from x where id in ($1, 2) order by id;
-- args 2
delete from x where id = $1;
-- extended
begin;
-- extended
select 1/0;
-- extended
select 1;
-- extended
rollback;
-- extended
show server_encoding;
-- extended
create table y (a int);
-- extended
drop table y;
-- extended
select 1\; select 2;
-- args 1
prepare p as select $1;
-- args 1|2
select $1;
-- extended
select $2::int;
drop table x;

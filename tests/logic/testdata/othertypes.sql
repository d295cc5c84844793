-- bool, uuid, arrays, NULL handling, casts, CASE.
select true, false, 't'::bool, 'yes'::bool, 'off'::bool, '1'::bool, true::int, 0::bool, true::text, not true, true and null, false and null, true or null, null or false;
select 'maybe'::bool;
select 2.5::bool;
select null is null, null = null, null <> 1, 1 is distinct from null, null is not distinct from null, null is true, null is not true, true is unknown, null is unknown;
select coalesce(null, 1, 2), coalesce(null, null), nullif(1, 1), nullif(1, 2), coalesce(1 / 1, 1 / 0);
select case when 1 = 1 then 'a' else 'b' end, case 2 when 1 then 'x' when 2 then 'y' end, case when false then 1 end, case when true then 1 else 1 / 0 end;
select case when true then 1 else 'x' end;
select case 1 when 1 then 1 when 2 then 2.5 end;
select 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, '{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'::uuid, length(gen_random_uuid()::text);
select 'not-a-uuid'::uuid;
select array[1, 2, 3], '{1,2,3}'::int[], array['a', 'b c', null, 'NULL', ''], array[[1, 2], [3, 4]], '{}'::int[], array[]::text[];
select array[1,2,3][2], (array[1,2,3])[2:3], array_length(array[1,2,3], 1), cardinality(array[[1,2],[3,4]]), array_dims(array[[1,2],[3,4]]), array_upper(array[1,2], 1);
select array[1,2] || 3, 0 || array[1,2], array[1,2] || array[3], array_append(array[1], 2), array_cat(array[1], array[2]), array_position(array['a','b'], 'b'), array_remove(array[1,2,1], 1), array_replace(array[1,2], 2, 9);
select 1 = any(array[1,2]), 1 = all(array[1,1]), 3 <> all(array[1,2]), array[1,2] @> array[1], array[1] <@ array[1,2], array[1,2] && array[2,3], array[1,2] = array[1,2], array[1,2] < array[1,3];
select unnest(array[1,2,3]);
select * from unnest(array['a','b'], array[1,2,3]) as t(x, y);
select array_agg(x order by x), array_agg(x) filter (where x > 1) from (values (1), (2), (3)) t(x);
select '{1,2'::int[];
select row(1, 'a', null), (1, 2) = (1, 2), (1, 2) < (1, 3), (1, null) = (1, 2), row(1, 2) is null, row(null, null) is null;
select cast('5' as integer), '5'::integer, integer '5', 5::text, 5.5::int::text, '2024-01-01'::date::text, true::text::bool;
select 1::date;
select '{"a": [1, 2, {"b": null}]}'::json, '{"b": 1, "a": 2, "a": 3}'::jsonb, '[1, 2]'::jsonb -> 0, '{"a": "x"}'::jsonb ->> 'a', '{"a": {"b": 5}}'::jsonb #>> '{a,b}', '{"a": 1}'::jsonb @> '{"a": 1}', '{"a":1}'::jsonb ? 'a';
select '{bad'::json;
-- known: the error has no position
select 'x'::regclass;
select 'pg_class'::regclass, 'int4'::regtype, 23::regtype, 'integer'::regtype::oid, 'pg_catalog'::regnamespace;
select pg_typeof('x'), pg_typeof(null), pg_typeof('x'::text), pg_typeof(array[1]), pg_typeof(row(1)), pg_typeof(now()), pg_typeof(true);
select 1 as a, 2 as "B", 3 c, 4 "select", 5 as "a b";
select 1 as a, 2 as a;
-- known: geometric types are not supported yet
select '(1,2)'::point;
-- known: network types are not supported yet
select '192.168.0.1'::inet;
select 'a'::nosuchtype;
select nosuchfunction(1);
select length(1);
select 1 + 'a'::text;
select 1 + 'a';
select '1' + '2';
select - 'a';
select upper();
select now(1);
select 'abc' - 1;

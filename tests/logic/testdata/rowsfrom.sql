-- Functions in FROM whose rows are put side by side
select * from unnest(array['a','b'], array[1,2,3]) as t(x, y);
select * from unnest(array['a','b'], array[1,2,3], array[true]) with ordinality as t(x, y, z, n);
select * from rows from (generate_series(1, 3), unnest(array['x', 'y'])) as f;
select * from rows from (generate_series(1, 3), unnest(array['x', 'y'])) with ordinality order by ordinality desc;
select f.generate_series + 1 as n, unnest from rows from (generate_series(1, 2), unnest(array[null, 7])) f;
create table held (id int primary key, xs int[], ys text[]);
insert into held values (1, '{1,2}', '{a}'), (2, '{}', '{b,c}'), (3, null, null);
select id, x, y from held, unnest(xs, ys) as u(x, y) order by id, x, y;
select id, x, y, n from held left join lateral unnest(xs, ys) with ordinality as u(x, y, n) on true order by id, n;
select sum(x), count(y) from held cross join unnest(held.xs, held.ys) u(x, y);
select count(*) from unnest(array[1,2], array[3]) u(a, b) join held on held.id = u.a;
select u.* from unnest(array[]::int[], array[]::text[]) u;
select * from unnest(array[1], array[2]) as t(x, y, z);
select * from rows from (generate_series(1, 2), sum(1)) t;
select (select max(b) from unnest(xs, ys) u(a, b)) from held order by id;
drop table held;

-- What has several columns in FROM is a row in a select list.
select jsonb_each('{"a": 1, "b": null}');
select jsonb_each_text('{"a": null, "b": [1, "x,y"]}'), generate_series(1, 3);
select x, json_each(x) from (values ('{"a": 1}'::json), ('{}'), (null), ('{"b": 2, "c": 3}')) v(x);
select count(*), jsonb_each('{"a": 1}') from generate_series(1, 3);
select * from (select jsonb_each('{"a": 1, "b": 2}') r) s where r::text like '(b%';
select jsonb_each('{"b": 1, "a": 2}') r order by r desc limit 1;
select pg_options_to_table(array['a=b', 'c']);

-- The values of a set are not one, also where its arguments are constants.
select generate_series(1, 3) n order by n desc;
select generate_series(1, 3) n order by 1 desc limit 1;
select distinct unnest(array[2, 1, 2]) n order by n desc;
select x, unnest(array['a', 'b']) u from (values (1), (2)) v(x) order by u desc, x;
select u, count(*) from (select unnest(array[3, 1, 3]) u) s group by u order by u desc;
select generate_series(3, 1, -1) + 1 as n, 'k' as k order by k, n;

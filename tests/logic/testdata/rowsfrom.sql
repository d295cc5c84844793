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

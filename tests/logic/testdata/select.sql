-- SELECT: filters, order, limits, distinct, grouping, set operations.
create table emp (id int primary key, name text, dept text, sal int, hired date, boss int);
insert into emp values (1, 'ann', 'dev', 100, '2020-01-01', null), (2, 'bob', 'dev', 80, '2021-05-01', 1), (3, 'cid', 'ops', 70, '2019-03-01', 1), (4, 'dan', 'ops', 70, '2022-07-01', 3), (5, 'eve', null, null, null, 1), (6, 'fay', 'hr', 90, '2018-01-01', null);
select * from emp order by id;
select name from emp where sal > 75 order by name;
select name, sal * 12 as yearly from emp where dept = 'dev' order by yearly desc;
select * from emp where sal is null;
select * from emp where boss is not null order by boss, id desc;
select name from emp order by sal desc, name limit 2;
select name from emp order by sal desc nulls last, name limit 2 offset 1;
select name from emp order by sal nulls first limit 1;
select name from emp order by dept, sal;
select name from emp order by 1 desc limit all offset 4;
select name from emp where name like '%a%' order by length(name), name;
select name from emp fetch first 0 rows only;
-- known: not supported yet
select id from emp order by sal desc nulls last fetch first 3 rows with ties;
select distinct dept from emp order by dept;
select distinct dept, sal from emp order by dept nulls first, sal;
select distinct on (dept) dept, name, sal from emp order by dept, sal desc nulls last, name;
select count(*), count(sal), count(distinct dept), sum(sal), avg(sal), min(sal), max(sal), min(name), max(hired) from emp;
select count(*), sum(sal), avg(sal), min(sal) from emp where false;
select dept, count(*), sum(sal), round(avg(sal), 2) from emp group by dept order by dept;
select dept, count(*) c from emp group by dept having count(*) > 1 order by c desc, dept;
select dept, sal, count(*) from emp group by 1, 2 order by 1, 2;
select dept || '!' as d, count(*) from emp group by dept || '!' order by d;
select extract(year from hired) y, count(*) from emp group by y order by y;
select dept, string_agg(name, ',' order by name) from emp group by dept order by dept;
select dept, array_agg(id order by id desc) from emp group by dept order by dept;
select bool_and(sal > 50), bool_or(sal > 95), every(sal > 0) from emp;
select count(*) filter (where sal > 75), sum(sal) filter (where dept = 'dev') from emp;
select stddev(sal), variance(sal), stddev_pop(sal), corr(id, sal), covar_pop(id, sal), regr_slope(sal, id) from emp;
-- known: ordered-set aggregates are not supported yet
select percentile_cont(0.5) within group (order by sal), percentile_disc(0.5) within group (order by sal), mode() within group (order by sal) from emp;
-- known: grouping sets are not supported yet
select dept, count(*) from emp group by rollup (dept) order by dept;
-- known: grouping sets are not supported yet
select dept, sal, count(*), grouping(dept, sal) from emp group by cube (dept, sal) order by 1, 2, 4;
-- known: grouping sets are not supported yet
select dept, sal, count(*) from emp group by grouping sets ((dept), (sal), ()) order by 1, 2;
select max(sal) - min(sal) from emp having count(*) > 3;
select 1 where exists (select 1 from emp where sal > 95);
select name from emp where sal = (select max(sal) from emp);
select name, (select count(*) from emp e2 where e2.boss = e.id) as reports from emp e order by id;
select name from emp e where exists (select 1 from emp where boss = e.id) order by name;
select name from emp e where not exists (select 1 from emp where boss = e.id) order by name;
select name from emp where dept in (select dept from emp where sal >= 90) order by name;
select name from emp where dept not in (select dept from emp where sal >= 90 and dept is not null) order by name;
select name from emp where dept not in (select dept from emp) order by name;
select name from emp where sal > any (select sal from emp where dept = 'ops') order by name;
select name from emp where sal >= all (select sal from emp where sal is not null) order by name;
select * from (select dept, max(sal) m from emp group by dept) s where m > 75 order by m;
select a.name, b.name from emp a, emp b where a.boss = b.id order by a.id;
select dept from emp union select 'new' order by 1;
select dept from emp union all select 'dev' order by 1;
select dept from emp intersect select 'dev';
select dept from emp except select 'dev' order by 1;
select dept from emp except all select 'dev' order by 1;
select dept from emp intersect all select dept from emp where id < 3;
(select 1 as x union select 2) union all (select 1) order by x;
select 1 union select 2.5 union select null order by 1;
values (1, 'a'), (2, 'b'), (3, null);
select * from (values (1, 'one'), (2, 'two')) as t(n, w) where n > 1;
table emp;
with d as (select dept, sum(sal) s from emp group by dept), m as (select max(s) m from d) select dept from d, m where s = m.m;
with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select * from r;
with recursive t as (select id, name, 0 as lvl from emp where boss is null union all select e.id, e.name, lvl + 1 from emp e join t on e.boss = t.id) select * from t order by lvl, id;
select name, row_number() over (order by sal desc nulls last, id) rn, rank() over (order by sal desc nulls last) r, dense_rank() over (order by sal desc nulls last) dr from emp order by rn;
select dept, name, sal, sum(sal) over (partition by dept) total, sum(sal) over (partition by dept order by id) running, lag(sal) over (order by id), lead(name, 2, 'none') over (order by id), first_value(name) over (partition by dept order by id), count(*) over () from emp order by id;
-- known: window frames are not supported yet
select id, avg(sal) over (order by id rows between 1 preceding and 1 following), ntile(3) over (order by id), percent_rank() over (order by sal), cume_dist() over (order by sal), nth_value(name, 2) over (order by id) from emp order by id;
select generate_series(1, 5) as g, generate_series(10, 8, -1);
select * from generate_series(1, 3) with ordinality as t(v, n);
select x, y from generate_series(1, 2) x, lateral generate_series(1, x) y order by 1, 2;
select e.id, l.name from emp e left join lateral (select name from emp where boss = e.id order by id limit 1) l on true order by e.id;
-- known: whole-row references are plain records yet
select (emp).name from emp where id = 1;
select emp::text from emp where id = 1;
select count(*) from emp where (dept, sal) = ('ops', 70);
select count(*) from emp where (dept, sal) in (('ops', 70), ('dev', 100));
select * from emp where id between 2 and 3 or name ~ '^f' order by id;
select id from emp where id = any(array[1, 3, 9]) order by id desc;
select id from emp where hired > '2020-01-01' and hired < date '2022-01-01' order by id;
select id, name from emp where id = 3 for update;
select current_database(), current_user, session_user, current_schema();
select all name from emp where id = 1;
drop table emp;

-- What tests/differential has found: small, and for ever.
create table t (k int primary key, i int, s text);
insert into t select g, g % 4, chr(97 + g % 3) from generate_series(1, 10) g;

-- Grouping by a column of a WITH query that is computed once.
with recursive w(x) as (select 0 union select x + 1 from w where x < 4) select w.x, count(t.i) from w left join t on t.i = w.x group by 1 order by 1, 2;
with w(x) as materialized (select i from t) select x, count(*) from w group by x order by x;
with w as materialized (select * from t) select s, max(k) over (partition by s) m from w order by k;
with w(x, y) as materialized (select k, i from t) select x, y from w group by x;
with w(x) as materialized (select 7) select (select max(w.x) from t) from w;
with w as (update t set i = i returning *) select s, count(*) from w group by s order by s;

-- A table's key determines its other columns where it is a key, not where it comes out of a subquery.
select t.k, t.s from t group by t.k order by 1 limit 2;
select q.k, q.s from (select a.k, b.s from t a join t b on a.i = b.i) q group by q.k;
create view v as select k, s from t;
select v.k, v.s from v group by v.k;

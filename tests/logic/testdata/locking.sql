create table t (id int primary key, v int);
create table u (id int primary key, tid int references t, w text);
create table h (a int);
insert into h values (7);
insert into t values (1,1),(2,2),(3,3);
insert into u values (1,1,'a'),(2,1,'b'),(3,2,'c'),(4,null,'d');
create view vt as select * from t where v < 3;
create view vju as select t.id, u.w from t join u on u.tid = t.id;
create view vlim as select v from t order by id limit 2;
create view vv as select id from vt;
select v + 1 from t where v > 1 order by v limit 1 for update skip locked;
select u.w from t join u on u.tid = t.id order by u.w limit 1 for update of t skip locked;
-- unordered
select u.w, t.v from t join u on u.tid = t.id for update;
select v from t where v = 1 limit 1 for update;
select * from vju order by 1,2 for update;
select * from vju order by 1,2 for update of vju;
select * from (select id x from t order by id limit 2) s for update of s;
select * from vlim for share;
select id from vv order by v for update of vv;
select id from vv order by 1 for update of vv nowait;
select a from h for update;
select a + 1 from h, t where t.id = 1 order by t.v limit 1 for update;
select w from t, lateral (select * from u where tid = t.id order by u.id desc limit 1) z order by 1 for update;
select w from u join t on t.id = u.tid order by u.id for update of u;
select w from (u join t on t.id = u.tid) order by u.id for update of u;
select w from u join t using (id) order by id for update;
select w from u natural join t order by id for update of t;
with c as (select * from t) select c.v, u.w from c join u on u.tid = c.id order by 1, 2 for update;
select s.v from (select * from t for share) s order by 1 for update;
select * from (with c as (select 1 x) select t.v, c.x from t, c) s order by v limit 1 for update;
create view vagg as select count(*) from t;
create view vdis as select distinct v from t;
create view vun as select v from t union select 1;
create view vwin as select row_number() over () from t;
create view vgr as select v from t group by v;
select * from vagg for update;
select * from vdis for update;
-- known: there are no rows of a table to lock; PostgreSQL leaves them unlocked
select * from vun for update;
select * from vwin for update;
select * from vgr for update;
-- unordered
select * from vgr, t for update of t;
select * from vgr, t order by t.id, 1 limit 1 for update of t;
select * from (select max(v) from t) m for update of m;
create sequence sq;
select * from sq for update;
select * from sq for update of sq;
values (1) for update;
select v from t having true for update;
select v from t group by id for update;
select v, max(id) from t for update;
select * from generate_series(1,2) g for update of g;
with c as (select * from t) select * from c order by 1 for update of c;
select * from (t join u on u.tid = t.id) j order by 1,3 for update of j;
select * from (values (1)) x(a) for update of x;
insert into h select v from t order by id limit 2 for update;
create role joe login;
grant select on vt, t, vv to joe;
set role joe;
select * from vt order by 1 for update;
select * from t order by 1 for update;
reset role;
grant update on vt to joe;
set role joe;
select v from vt order by id for update;
select * from vv order by 1 for update;
reset role;
drop owned by joe;
drop role joe;
begin;
select v from t where v = 1 for update;
-- conn two
begin;
-- conn two
select id from t where id > 1 order by id for update;
-- conn two
select id from u order by id for update;
-- conn two
select v from t order by v limit 1 for update skip locked;
-- conn two
select * from (select v from t order by v limit 1) s for update skip locked;
-- conn two
select w from vju order by id for no key update skip locked;
-- conn two
select u.w from vju join u using (w) order by u.id for no key update of u skip locked;
-- conn two
select v from t order by v limit 1 for update nowait for share skip locked;
-- conn two
rollback;
-- conn two
select * from vlim for update nowait;
-- conn two
select * from vju where id = 1 for key share of vju nowait;
-- conn main
rollback;
drop view vt, vv, vju, vlim, vagg, vdis, vun, vwin, vgr;
drop table t, u, h;
drop sequence sq;

create table d (id int primary key, v int);
insert into d values (1, 0), (2, 0);
begin isolation level read committed;
update d set v = 1 where id = 1;
-- conn two
begin isolation level read committed;
-- conn two
update d set v = 2 where id = 2;
-- conn two
-- background
update d set v = v + 20 where id = 1;
-- conn main
commit;
-- conn two
commit;
-- conn main
select * from d order by id;
-- Rows in one's way: NOWAIT, SKIP LOCKED, lock_timeout.
-- conn main
begin;
-- conn main
select * from d where id = 1 for update;
-- conn two
select * from d where id = 1 for update nowait;
-- conn two
select * from d order by id for update skip locked;
-- conn two
set lock_timeout = '100ms';
-- conn two
update d set v = 0 where id = 1;
-- conn two
select * from d where id = 1;
-- conn main
rollback;
-- conn two
update d set v = 7 where id = 1 returning v;
-- conn main
-- conn main
create table e (id int primary key, v int);
-- conn main
insert into e values (1, 0), (2, 0);
-- Pamir runs the transaction again by itself when what the client has seen stays true.
-- conn main
begin;
-- conn main
update e set v = 1 where id = 1;
-- conn two
reset lock_timeout;
-- conn two
begin;
-- conn two
-- background
update e set v = v + 20 where id = 1;
-- conn main
commit;
-- conn two
-- known: the server repeats the transaction instead of failing it
commit;
-- conn main
-- known: so both updates are there
select * from e where id = 1;
-- conn main
drop table d, e;

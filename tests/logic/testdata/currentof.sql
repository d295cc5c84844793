-- UPDATE and DELETE ... WHERE CURRENT OF.
create table co (id int primary key, a text, b numeric(8,2) default 0);
create table co2 (x text, y timestamptz, n int, primary key (x, y));
create table con (a int);
-- pamir: select pamir.split_at('co', 3)
insert into co select i, 'r' || i from generate_series(1, 6) i;
insert into co2 values ('p', '2020-01-01 10:00Z', 1), ('p', '2020-01-02 11:00:00.123456Z', 2), ('q', '2021-01-01Z', 3);
insert into con values (1);

-- The row is found by its key as it was, and as it is now.
begin;
declare c cursor for select * from co order by id for update;
-- before the first row
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select * from co order by id for update;
fetch c;
update co set a = 'cur' where current of c;
fetch c;
delete from co where current of c;
delete from co where current of c;
update co set a = 'gone' where current of c;
fetch c;
update co set a = a || '!' where current of c returning *;
update co as k set a = a || '?' where current of c returning k.a;
savepoint s;
update co set a = 's' where current of c;
rollback to s;
select a from co where id = 3;
move 2 in c;
update co set a = con.a::text from con where current of c returning co.*;
fetch 2 c;
update co set a = 'no' where current of c;
rollback;
select * from co order by id;

-- a key of several columns, in another order, and under READ COMMITTED
begin isolation level read committed;
declare c scroll cursor for select n, y, x from co2;
fetch last c;
update co2 set n = n + 10 where current of c returning x, n;
fetch prior c;
update co2 set n = n + 10 where current of c returning x, n;
delete from co2 where current of c returning n;
rollback;

-- planned once, run for each row
begin;
declare c cursor for select a, id from co where id in (3, 4) order by id;
prepare u (text) as update co set a = $1 || b where current of c returning id, a;
execute u ('a');
rollback;
begin;
declare c cursor for select a, id from co where id in (3, 4) order by id;
fetch c;
execute u ('b');
fetch c;
execute u ('c');
rollback;
execute u ('d');
deallocate u;
begin;
declare c cursor for select * from co order by id;
fetch c;
-- extended
-- args new
update co set a = $1 where current of c returning id, a;
rollback;

-- which cursors will do
begin;
update co set a = 'q' where current of nosuch;
rollback;
begin;
declare c cursor for select count(*), id from co group by id order by id;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select distinct id from co order by id;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select id from co union select 1 order by id;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select c1.id from co c1, co c2 order by c1.id, c2.id;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select * from co2 order by x, y;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select * from co2 order by x, y for update;
fetch c;
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select a from co order by id;
fetch c;
-- known: the row is found by what the cursor shows
update co set a = 'no' where current of c;
rollback;
begin;
declare c cursor for select * from con;
fetch c;
-- known: the row is found by its key
update con set a = 2 where current of c;
rollback;
declare c cursor with hold for select * from co order by id;
fetch c;
update co set a = 'no' where current of c;
close c;

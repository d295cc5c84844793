create table t (a int, b text, c numeric);
copy t from stdin
DATA
1	one	1.5
2	\N	\N
3	tab\there	2
4	back\\slash	3
5	new\nline	\N
\.
;
select * from t order by a;
copy t to stdout;
copy (select a, b from t where a < 3 order by a) to stdout;
copy t to stdout with (format csv, header);
copy t (b, a) to stdout (format csv, delimiter ';', null 'nil', force_quote *);
copy t to stdout with (delimiter '|', null '');
truncate t;
copy t from stdin with (format csv)
DATA
1,"quoted, comma",1
2,"he said ""hi""",
3,,2
4,"",3
5,"line
break",5
;
select a, b, b is null, c from t order by a;
copy t (a) from stdin
DATA
10
11
;
select count(*) from t;
copy t from stdin
DATA
x	y	z
;
copy t from stdin
DATA
1	only two
;
copy t from stdin
DATA
1	a	2	extra
;
copy t from stdin (format csv, header)
DATA
a,b,c
7,h,7
;
copy t from stdin (format csv, header match)
DATA
a,x,c
8,h,8
;
copy t from stdin (format csv)
DATA
1,"unterminated
;
select count(*) from t;
copy nosuch from stdin
DATA
1
;
copy t (a, nosuch) from stdin
DATA
1	2
;
copy t (a, a) from stdin
DATA
1	2
;
copy t to stdout (format xml);
copy t to stdout (delimiter 'ab');
copy t to stdout (quote '"');
copy t to stdout (format csv, delimiter '"');
copy t to stdout (nosuch);
copy t to stdout (format csv, format text);
create table u (id int primary key, v varchar(3) not null default 'd', n int check (n > 0));
copy u from stdin
DATA
1	abc	1
1	abc	1
;
copy u from stdin
DATA
1	abcd	1
;
copy u from stdin
DATA
1	\N	1
;
copy u from stdin
DATA
1	a	-1
;
copy u (id) from stdin
DATA
1
2
;
select * from u order by id;
copy u to stdout csv;
copy u to stdout csv header;
copy u to stdout delimiter ',' null 'NULL';
begin;
copy u (id) from stdin
DATA
3
;
rollback;
select count(*) from u;
drop table t, u;

// Package role is who may do what: roles, memberships, access lists and password verifiers, as PostgreSQL 15 has them.
//
// A [Set] is all roles of a catalog version; it answers who is whose member and which privileges a user has on an
// [Object]. An [ACL] is the list of an object's grants, with PostgreSQL's rules for granting and revoking.
//
// # What it is not
//
// It stores nothing (package catalog does) and knows no statements (package sql/access does). It is pure: no clock, no I/O but random salts.
//
// # Invariants
//
//  1. A nil ACL means the default of the object's class; an empty one means that nobody was granted anything.
//  2. Nobody holds a privilege from a grantor who is neither the owner nor holds the grant option: Revoke keeps that.
//  3. A superuser has every privilege; memberships cannot form a cycle (checked when they are granted).
//  4. A Set and what it hands out are not changed once made.
package role

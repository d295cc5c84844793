// Package admin tests what operators can ask of a cluster: each verb of package sql/verb over HTTP, by command and in SQL on a
// live cluster; the OpenAPI document against the server that it describes; who may ask what; and operations whose node is gone.
package admin

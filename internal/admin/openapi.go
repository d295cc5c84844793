package admin

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/verb"
)

type object = map[string]any

// document describes the API (OpenAPI 3.1), from the table of verbs and the types of their answers.
func (s *Server) document() json.RawMessage {
	types := schemas{defined: object{}}
	problem := object{"description": "Refused, or failed; see code.", "content": object{"application/problem+json": object{"schema": types.of(reflect.TypeFor[Problem]())}}}
	paths := map[string]object{}
	for i := range verb.Table {
		v := &verb.Table[i]
		if paths[v.Path] == nil {
			paths[v.Path] = object{}
		}
		paths[v.Path][strings.ToLower(v.Method)] = s.describe(v, &types, problem)
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Pamir", "version": "v1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "What operators ask of a cluster. Every node answers all of it. Who looks must be a member of " + role.Viewer + ", who changes something of " + role.Operator +
				". Without certificates everybody on the node's machine may do everything.\n\nA request that changes something begins an operation, which goes on if the client goes away, or its node. " +
				"With an " + KeyHeader + " the same request can be sent again, and begins nothing again.",
		},
		"servers": []any{object{"url": Prefix}},
		"paths":   paths,
		"components": object{
			"schemas": types.defined,
			"securitySchemes": object{
				"password":    object{"type": "http", "scheme": "basic", "description": "A role's name and password, as for SQL."},
				"certificate": object{"type": "mutualTLS", "description": "A client certificate of the cluster's authority."},
			},
		},
		"security": []any{object{"password": []string{}}, object{"certificate": []string{}}, object{}},
	}
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err) // of maps and texts: it cannot fail
	}
	return b
}

// describe describes one operation in OpenAPI's sense.
func (s *Server) describe(v *verb.Verb, types *schemas, problem object) object {
	need := role.Viewer
	if v.Changes() {
		need = role.Operator
	}
	o := object{
		"operationId": v.Name, "summary": v.Summary, "tags": []string{strings.Split(strings.Trim(v.Path, "/"), "/")[0]},
		"description": strings.TrimSpace(v.Detail + "\n\nNeeds " + need + "."),
	}
	params := []any{}
	body, required := object{}, []string{}
	for i := range v.Params {
		p := &v.Params[i]
		if p.In == verb.Body {
			sch := schemaOf(p)
			sch["description"] = p.Help
			body[p.Name] = sch
			if p.Required {
				required = append(required, p.Name)
			}
			continue
		}
		params = append(params, parameter(p))
	}
	if v.Changes() {
		params = append(params, parameter(&waitParam))
		if v.Name != "cancel_operation" {
			params = append(params, object{"name": KeyHeader, "in": "header", "description": "Makes the request idempotent: the same user with the same key gets the same operation.",
				"schema": object{"type": "string", "minLength": 1, "maxLength": MaxKey, "pattern": "^[!-~]+$"}})
		}
	}
	if len(params) > 0 {
		o["parameters"] = params
	}
	if len(body) > 0 {
		sch := object{"type": "object", "properties": body, "additionalProperties": false}
		if len(required) > 0 {
			sch["required"] = required
		}
		o["requestBody"] = object{"required": len(required) > 0, "content": object{"application/json": object{"schema": sch}}}
	}
	var answer object
	if l, ok := s.look(v.Name); ok {
		answer = types.of(l.Answer)
	} else {
		answer = types.of(reflect.TypeFor[Operation]())
	}
	content := object{"application/json": object{"schema": answer}}
	if !v.Changes() {
		o["responses"] = object{"200": object{"description": "The answer.", "content": content}, "default": problem}
		return o
	}
	told := ""
	if a := actions[v.Name]; a != nil {
		told = " Its result has " + a.result + "."
	}
	headers := object{"Location": object{"description": "Where the operation is.", "schema": object{"type": "string"}}}
	o["responses"] = object{
		"200":     object{"description": "The operation, which is over: look at its state." + told, "content": content, "headers": headers},
		"202":     object{"description": "The operation, which goes on.", "content": content, "headers": headers},
		"default": problem,
	}
	return o
}

func parameter(p *verb.Param) object {
	o := object{"name": p.Name, "in": [...]string{"path", "query"}[p.In], "description": p.Help, "schema": schemaOf(p)}
	if p.Required {
		o["required"] = true
	}
	return o
}

func schemaOf(p *verb.Param) object {
	low, high := p.Bounds()
	switch p.Kind {
	case verb.Int:
		o := object{"type": "integer", "format": "int64", "minimum": low, "maximum": high}
		if p.Default != "" {
			o["default"] = json.Number(p.Default)
		}
		return o
	case verb.Bool:
		return object{"type": "boolean"}
	case verb.Texts:
		var items any = object{"type": "string", "maxLength": verb.MaxText}
		if p.In == verb.Body {
			items = object{"type": []string{"string", "number", "boolean"}}
		}
		return object{"type": "array", "items": items, "minItems": low, "maxItems": high}
	}
	o := object{"type": "string", "maxLength": high}
	if p.Scalar && p.In == verb.Body {
		o["type"] = []string{"string", "number", "boolean"}
	}
	if low > 0 {
		o["minLength"] = low
	}
	if p.Enum != nil {
		o["enum"] = p.Enum
	}
	if p.Default != "" {
		o["default"] = p.Default
	}
	return o
}

// schemas makes JSON schemas of Go types, as encoding/json writes them.
type schemas struct{ defined object }

func (s *schemas) of(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "format": "int64", "description": "ns"}
	case reflect.TypeFor[State]():
		return object{"type": "string", "enum": []State{Running, Canceling, Succeeded, Failed, Canceled}}
	case reflect.TypeFor[json.RawMessage]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		if t.Name() == "" {
			return s.structure(t)
		}
		if _, ok := s.defined[t.Name()]; !ok {
			s.defined[t.Name()] = object{} // it may contain itself
			s.defined[t.Name()] = s.structure(t)
		}
		return object{"$ref": "#/components/schemas/" + t.Name()}
	}
	panic(fmt.Sprintf("no schema for %s", t)) // an answer has a type that JSON does not have
}

func (s *schemas) structure(t reflect.Type) object {
	props, required := object{}, []string{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Anonymous && f.Tag.Get("json") == "" {
				add(f.Type)
				continue
			}
			name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "-" || !f.IsExported() {
				continue
			}
			props[name] = s.of(f.Type)
			if texts := f.Tag.Get("enum"); texts != "" { // the texts that it can be
				props[name] = object{"type": "string", "enum": strings.Split(texts, ",")}
			}
			if rest == "" {
				required = append(required, name)
			}
		}
	}
	add(t)
	slices.Sort(required)
	o := object{"type": "object", "properties": props}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

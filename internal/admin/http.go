package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/verb"
)

// Prefix of the API's paths.
const Prefix = "/api/v1"

// KeyHeader makes a request idempotent.
const KeyHeader = "Idempotency-Key"

const (
	maxRequests = 256      // at once
	maxWaits    = 128      // of them can wait: the others are answered
	maxBody     = 64 << 10 // bytes
	// answerWithin bounds a request that does not ask to wait; waitMost what it can ask for.
	answerWithin = 30 * time.Second
	readWithin   = 10 * time.Second
	waitMost     = 60
	// quickWait is how long an answer waits for the end of what cannot last, if the request says nothing.
	quickWait = 10
)

// waitParam is what every request that begins an operation can say besides.
var waitParam = verb.Param{Name: "wait", Kind: verb.Int, In: verb.Query, Max: waitMost, Help: "wait so many seconds for the operation's end; if it is left out, ten for what cannot be cancelled, and else none"}

type httpRoutes struct {
	mux      *http.ServeMux
	document json.RawMessage
}

// routes makes the handler of every verb, and the document that describes them.
func (s *Server) routes() httpRoutes {
	byPath := map[string]map[string]http.HandlerFunc{}
	for i := range verb.Table {
		v := &verb.Table[i]
		if byPath[v.Path] == nil {
			byPath[v.Path] = map[string]http.HandlerFunc{}
		}
		if v.Changes() {
			byPath[v.Path][v.Method] = s.serveChange(v)
		} else {
			byPath[v.Path][v.Method] = s.serveLook(v)
		}
	}
	mux := http.NewServeMux()
	for path, methods := range byPath {
		var allowed []string
		for m := range methods {
			allowed = append(allowed, m)
			if m == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
		slices.Sort(allowed)
		mux.HandleFunc(Prefix+path, func(w http.ResponseWriter, r *http.Request) {
			m := r.Method
			if m == http.MethodHead {
				m = http.MethodGet
			}
			if h := methods[m]; h != nil {
				h(w, r)
				return
			}
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			WriteProblem(w, NewProblem(CodeMethod, "%.20s is not possible here, only %s", r.Method, strings.Join(allowed, ", ")))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		WriteProblem(w, NewProblem(CodeNotFound, "there is no %.200s", r.URL.Path).WithHint("%s/openapi.json describes what there is.", Prefix))
	})
	return httpRoutes{mux, s.document()}
}

// ServeHTTP serves the API.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		WriteProblem(w, NewProblem(CodeTooMany, "%d requests are being answered already", maxRequests).WithHint("Try again in a second."))
		return
	}
	// Whoever sends or reads slowly must not keep a slot. Not all connections can be timed (those of tests cannot).
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(answerWithin + (waitMost+5)*time.Second))
	defer func() { _ = c.SetWriteDeadline(time.Time{}) }()
	_ = c.SetReadDeadline(time.Now().Add(s.readWithin))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	// The server goes on reading, to see whether the client goes away: a deadline that is left would end the request.
	_ = c.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		WriteProblem(w, NewProblem(CodeTooLarge, "the body is larger than %d bytes", maxBody))
		return
	case err != nil:
		WriteProblem(w, NewProblem(CodeInvalid, "the body cannot be read: %v", err))
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.http.mux.ServeHTTP(w, r)
}

func (s *Server) serveLook(v *verb.Verb) http.HandlerFunc {
	l, ok := s.look(v.Name)
	return func(w http.ResponseWriter, r *http.Request) {
		if !ok {
			WriteProblem(w, NewProblem(CodeUnavailable, "%s is not answered by this node", v.Name))
			return
		}
		a, _, err := decode(r, v)
		if err != nil {
			WriteProblem(w, AsProblem(err))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin+time.Duration(a.Int("wait"))*time.Second)
		defer cancel()
		answer, err := l.F(ctx, a)
		if err != nil {
			WriteProblem(w, AsProblem(err))
			return
		}
		s.write(w, http.StatusOK, answer)
	}
}

func (s *Server) serveChange(v *verb.Verb) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, wait, err := decode(r, v)
		if err != nil {
			WriteProblem(w, AsProblem(err))
			return
		}
		if wait < 0 {
			if wait = 0; !v.Cancelable {
				wait = quickWait
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin+time.Duration(wait)*time.Second)
		defer cancel()
		var op *Operation
		began := true
		if v.Name == "cancel_operation" {
			op, err = s.Cancel(ctx, a.Int("operation_id"))
		} else {
			var key string
			if key, err = keyOf(r); err == nil {
				op, began, err = s.Begin(ctx, Request{User: s.cfg.UserOf(r.Context()), Key: key, Verb: v, Args: a})
			}
		}
		if err == nil && wait > 0 && !op.State.Over() {
			op, err = s.waitFor(ctx, op.ID, wait)
		}
		if err != nil {
			WriteProblem(w, AsProblem(err))
			return
		}
		if !began {
			w.Header().Set("Idempotent-Replayed", "true")
		}
		w.Header().Set("Location", Prefix+"/operations/"+strconv.FormatInt(op.ID, 10))
		status := http.StatusAccepted
		if op.State.Over() {
			status = http.StatusOK
		}
		s.write(w, status, op)
	}
}

// waitFor waits for an operation's end on behalf of a request. If many wait already it does not: whoever waits by asking again and again goes on to.
func (s *Server) waitFor(ctx context.Context, id, seconds int64) (*Operation, error) {
	select {
	case s.waits <- struct{}{}:
		defer func() { <-s.waits }()
	default:
		seconds = 0
	}
	return s.Wait(ctx, id, time.Duration(seconds)*time.Second)
}

// keyOf is a request's idempotency key.
func keyOf(r *http.Request) (string, error) {
	vs := r.Header.Values(KeyHeader)
	if len(vs) == 0 {
		return "", nil
	}
	key := vs[0]
	if len(vs) > 1 || key == "" || len(key) > MaxKey || strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return "", NewProblem(CodeInvalid, "%s: 1 to %d printable characters without spaces", KeyHeader, MaxKey)
	}
	return key, nil
}

func (s *Server) write(w http.ResponseWriter, status int, answer any) {
	b, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		WriteProblem(w, NewProblem(CodeInternal, "%v", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(append(b, '\n')); err != nil {
		s.cfg.Log.Debug("admin: the client went away", "err", err)
	}
}

// decode takes a verb's arguments, and how long to wait (-1 if it does not say), out of a request.
func decode(r *http.Request, v *verb.Verb) (a verb.Args, wait int64, err error) {
	a, wait = verb.Args{}, -1
	query := r.URL.Query()
	for name, texts := range query {
		p := v.Param(name)
		if name == waitParam.Name && v.Changes() {
			x, err := waitParam.Parse(texts...)
			if err != nil {
				return nil, 0, err
			}
			if wait = x.(int64); wait < 0 || wait > waitMost {
				return nil, 0, NewProblem(CodeInvalid, "wait: %d is out of range (0 to %d)", wait, waitMost)
			}
			continue
		}
		if p == nil || p.In != verb.Query {
			return nil, 0, NewProblem(CodeInvalid, "%.100q is not a parameter of this", name)
		}
		if a[name], err = p.Parse(texts...); err != nil {
			return nil, 0, err
		}
	}
	for i := range v.Params {
		if p := &v.Params[i]; p.In == verb.Path {
			if a[p.Name], err = p.Parse(r.PathValue(p.Name)); err != nil {
				return nil, 0, err
			}
		}
	}
	if err := decodeBody(r, v, a); err != nil {
		return nil, 0, err
	}
	return a, wait, v.Check(a)
}

// decodeBody reads a JSON object with the verb's parameters that belong in the body.
func decodeBody(r *http.Request, v *verb.Verb, a verb.Args) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return NewProblem(CodeInvalid, "the body cannot be read: %v", err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return NewProblem(CodeMediaType, "a body must be application/json").WithHint("With curl: -H 'Content-Type: application/json'.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return NewProblem(CodeInvalid, "the body is not a JSON object")
	}
	for dec.More() {
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return malformed(err)
		}
		p := v.Param(name)
		if p == nil || p.In != verb.Body {
			return NewProblem(CodeInvalid, "%.100q is not a field of this body", name)
		}
		if _, twice := a[name]; twice {
			return NewProblem(CodeInvalid, "%s: is given more than once", name)
		}
		var x any
		if err := dec.Decode(&x); err != nil {
			return malformed(err)
		}
		if a[name], err = value(p, x); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return malformed(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return NewProblem(CodeInvalid, "there is something behind the JSON object of the body")
	}
	return nil
}

func malformed(err error) error { return NewProblem(CodeInvalid, "the body is not JSON: %v", err) }

// value turns a JSON value into one of the parameter's kind; what is of another kind is left for Check to refuse.
func value(p *verb.Param, x any) (any, error) {
	text := func(x any) (string, bool) {
		switch y := x.(type) {
		case string:
			return y, true
		case json.Number:
			return y.String(), true
		case bool:
			return strconv.FormatBool(y), true
		}
		return "", false
	}
	switch {
	case p.Kind == verb.Int:
		if n, ok := x.(json.Number); ok {
			return p.Parse(n.String())
		}
	case p.Kind == verb.Text && p.Scalar:
		if s, ok := text(x); ok {
			return s, nil
		}
	case p.Kind == verb.Texts:
		list, ok := x.([]any)
		if !ok {
			break
		}
		out := make([]string, 0, len(list))
		for _, e := range list {
			s, ok := text(e)
			if !ok {
				raw, _ := json.Marshal(e) // it was JSON a moment ago
				return nil, &verb.Error{Param: p.Name, Message: fmt.Sprintf("%.100s is neither a text nor a number", raw)}
			}
			out = append(out, s)
		}
		return out, nil
	}
	return x, nil
}

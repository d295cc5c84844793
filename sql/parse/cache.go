package parse

import (
	"container/list"
	"sync"

	"github.com/pamirdb/pamir/sql/ast"
)

// Bounds of the cache: entries, text bytes in all, and the longest text kept. A tree
// takes some ten times its text.
const (
	cacheEntries = 4096
	cacheBytes   = 4 << 20
	cacheText    = 64 << 10
)

// texts is the process's parse cache. It holds trees only: no session, no catalog.
var texts = &textCache{byText: map[string]*list.Element{}}

type textCache struct {
	mu     sync.Mutex
	byText map[string]*list.Element
	order  list.List // front = latest used
	bytes  int
}

type textEntry struct {
	text  string
	stmts []ast.Stmt
}

func (c *textCache) get(text string) ([]ast.Stmt, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	el, ok := c.byText[text]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(el)
	return el.Value.(*textEntry).stmts, true
}

func (c *textCache) put(text string, stmts []ast.Stmt) {
	if len(text) > cacheText {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byText[text]; ok {
		return
	}
	c.byText[text] = c.order.PushFront(&textEntry{text: text, stmts: stmts})
	c.bytes += len(text)
	for c.order.Len() > cacheEntries || c.bytes > cacheBytes {
		last := c.order.Back()
		e := c.order.Remove(last).(*textEntry)
		delete(c.byText, e.text)
		c.bytes -= len(e.text)
	}
}

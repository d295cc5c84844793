package pgwire

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzConnection feeds arbitrary bytes to a connection, after a good startup packet or instead of one.
// The server must neither panic nor hang, and must end the connection when its peer does.
func FuzzConnection(f *testing.F) {
	msg := func(typ byte, body string) []byte {
		b := []byte{typ, 0, 0, 0, 0}
		binary.BigEndian.PutUint32(b[1:], uint32(4+len(body)))
		return append(b, body...)
	}
	seq := func(ms ...[]byte) (out []byte) {
		for _, m := range ms {
			out = append(out, m...)
		}
		return out
	}
	f.Add(true, seq(msg('Q', "rows 3\x00"), msg('X', "")))
	f.Add(true, seq(msg('P', "\x00rows 3\x00\x00\x00"), msg('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), msg('D', "P\x00"), msg('E', "\x00\x00\x00\x00\x01"), msg('S', "")))
	f.Add(true, seq(msg('Q', "copyin\x00"), msg('d', "abc"), msg('c', "")))
	f.Add(true, seq(msg('B', "\x00\x00\x00\x01\x00\x01\x00\x01\xff\xff\xff\xff\x00\x00"), msg('C', "S\x00"), msg('H', ""), msg('S', "")))
	f.Add(true, []byte{'Q', 0xff, 0xff, 0xff, 0xff})
	f.Add(false, []byte{0, 0, 0, 8, 4, 210, 22, 47, 0, 0, 0, 8, 4, 210, 22, 48})
	f.Add(false, []byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 2})
	f.Fuzz(func(t *testing.T, started bool, data []byte) {
		h := start(t, func(c *Config) { c.AuthTimeout = 2 * time.Second; c.MaxMessage = 1 << 20 })
		client, server := net.Pipe()
		h.srv.start(server)
		go func() { _, _ = io.Copy(io.Discard, client) }()
		_ = client.SetDeadline(time.Now().Add(10 * time.Second))
		if started {
			if _, err := client.Write([]byte("\x00\x00\x00\x13\x00\x03\x00\x00user\x00root\x00\x00")); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = client.Write(data) // the server may have hung up
		_ = client.Close()
		for deadline := time.Now().Add(10 * time.Second); h.srv.Metrics().Connections.Load() > 0; {
			if time.Now().After(deadline) {
				t.Fatal("the connection does not end")
			}
			time.Sleep(100 * time.Microsecond)
		}
		if n := h.srv.Metrics().Panics.Load(); n > 0 && !containsPanic(data) {
			t.Fatal("panic")
		}
	})
}

// containsPanic reports whether the input may have asked the fake session to panic or sleep.
func containsPanic(b []byte) bool {
	for i := 0; i+5 <= len(b); i++ {
		if string(b[i:i+5]) == "panic" {
			return true
		}
	}
	return false
}

// FuzzDecoders checks that no message body makes a decoder panic or allocate beyond the message.
func FuzzDecoders(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01a\x00\x00"))
	f.Add([]byte("user\x00root\x00_pq_.x\x00y\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m bindMessage
		if err := m.decode(b); err == nil {
			n := 0
			for _, p := range m.params {
				n += len(p)
			}
			if n > len(b) {
				t.Fatal("parameters longer than the message")
			}
		}
		if cap(m.params) > len(b)/2+64 || cap(m.paramFormats) > len(b)+64 {
			t.Fatalf("%d parameters and %d formats for %d bytes", cap(m.params), cap(m.paramFormats), len(b))
		}
		_, _ = parseStartup(3<<16, b)
	})
}

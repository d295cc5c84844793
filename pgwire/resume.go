package pgwire

// Resume takes back a Drain that has ended: Serve may be called again, with another listener.
func (s *Server) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Swap(false) {
		s.stopping = make(chan struct{})
	}
}

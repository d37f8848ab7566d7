package lab

import (
	"io"
	"net"
	"sync"
)

// Forward makes a TCP port of the host's loopback reachable from the guest and returns its address there. It ends with
// the test.
func (g *Guest) Forward(target string) string {
	g.t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(g.HostAddress(), "0"))
	if err != nil {
		g.t.Fatal(err)
	}
	var open sync.WaitGroup
	open.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { join(in, target) })
		}
	})
	g.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// join carries bytes both ways until one side ends, and then ends the other.
func join(in net.Conn, target string) {
	defer func() { _ = in.Close() }()
	out, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
		_ = from.(*net.TCPConn).CloseRead()
	}
	both.Go(func() { carry(out, in) })
	both.Go(func() { carry(in, out) })
	both.Wait()
}

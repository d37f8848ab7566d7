package network

import (
	"context"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// dialPrompt dials connections on which this host acknowledges every segment at once. Many small servers and proxies
// send the head and the body of an answer apart, and hold the body back until the head is acknowledged; with the kernel's
// delayed acknowledgements each call would take 40 ms longer, and a deployment is dozens of small calls.
func dialPrompt(d *net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := d.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		raw, err := tcp.SyscallConn()
		if err != nil {
			return c, nil //nolint:nilerr // it works without, only slower
		}
		return &promptConn{TCPConn: tcp, raw: raw}, nil
	}
}

// promptConn asks for prompt acknowledgements again and again: the kernel forgets the wish when the direction of the
// traffic changes.
type promptConn struct {
	*net.TCPConn
	raw syscall.RawConn
}

func (c *promptConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	if n > 0 && n < len(b) { // more than fits is coming anyway
		c.prompt()
	}
	return n, err
}

func (c *promptConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.prompt()
	return n, err
}

func (c *promptConn) prompt() {
	_ = c.raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
	})
}

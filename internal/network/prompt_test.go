package network_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"codedeploy-agent/internal/network"
)

// TestAServerThatSendsHeadAndBodyApart answers without the pause of delayed acknowledgements. What is measured is not
// speed but how many of the answers waited for one: at 40 ms each, all of them would.
func TestAServerThatSendsHeadAndBodyApart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	var connections atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go serveApart(c.(*net.TCPConn))
		}
	}()
	client, err := network.NewHTTPClient(network.Options{Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	defer client.CloseIdleConnections()
	const calls = 40
	delayed := 0
	for range calls {
		began := time.Now()
		r, err := client.Get("http://" + listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Fatal(r.Status)
		}
		if took := time.Since(began); took > 38*time.Millisecond && took < 60*time.Millisecond {
			delayed++
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections were made, want one that is kept", connections.Load())
	}
	if delayed > calls*9/10 {
		t.Errorf("%d of %d answers waited for a delayed acknowledgement", delayed, calls)
	}
}

// serveApart answers every request in two writes, with Nagle's algorithm at work.
func serveApart(c *net.TCPConn) {
	defer func() { _ = c.Close() }()
	_ = c.SetNoDelay(false)
	requests := bufio.NewReader(c)
	for {
		if _, err := http.ReadRequest(requests); err != nil {
			return
		}
		_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
		_, _ = fmt.Fprint(c, "{}")
	}
}

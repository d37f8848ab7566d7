package fault

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Serve answers a request under the fault. next does the work; refuse writes an error in the service's own format.
func (f Fault) Serve(w http.ResponseWriter, r *http.Request, refuse func(w http.ResponseWriter, status int, code, message string), next func(http.ResponseWriter)) {
	switch f.Kind {
	case Status:
		refuse(w, cmp.Or(f.Status, http.StatusInternalServerError), f.Code, f.Message)
	case Throttle:
		if f.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
		refuse(w, cmp.Or(f.Status, http.StatusBadRequest), cmp.Or(f.Code, "ThrottlingException"), cmp.Or(f.Message, "Rate exceeded"))
	case Reset:
		reset(w)
	case Lost:
		next(&nowhere{header: http.Header{}})
		reset(w)
	case Delay:
		if pause(r.Context(), f.Delay) {
			next(w)
		}
	case Hang:
		<-r.Context().Done()
		reset(w)
	case Garbage:
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		_, _ = w.Write([]byte(cmp.Or(f.Body, "<html>\x00\xff this is not what you asked for")))
	case Cut, Truncate, WrongLength, Stall, Rate:
		next(&body{ResponseWriter: w, fault: f, ctx: r.Context()})
	default:
		next(w)
	}
}

// pause waits and tells whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// reset ends the connection so that the client sees "connection reset by peer".
func reset(w http.ResponseWriter) { drop(w, true) }

func drop(w http.ResponseWriter, hard bool) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // cuts it too, only more politely
	}
	_ = buffered.Flush()
	raw := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok {
		raw = wrapped.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok && hard {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}

// nowhere takes an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(int)             {}
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }

// body breaks or slows the body of an answer.
type body struct {
	http.ResponseWriter
	fault Fault
	ctx   context.Context
	sent  int64
	done  bool
}

// Unwrap lets the connection be taken over.
func (b *body) Unwrap() http.ResponseWriter { return b.ResponseWriter }

func (b *body) WriteHeader(status int) {
	if b.fault.Kind == WrongLength && status < 300 {
		b.Header().Set("Content-Length", strconv.FormatInt(b.fault.After, 10))
	}
	b.ResponseWriter.WriteHeader(status)
}

func (b *body) Write(p []byte) (int, error) {
	if b.fault.Kind == Rate {
		return b.slowly(p)
	}
	if b.done {
		return len(p), b.ctx.Err()
	}
	room := b.fault.After - b.sent
	if int64(len(p)) < room {
		n, err := b.ResponseWriter.Write(p)
		b.sent += int64(n)
		return n, err
	}
	if _, err := b.ResponseWriter.Write(p[:room]); err != nil {
		return 0, err
	}
	b.sent += room
	_ = http.NewResponseController(b.ResponseWriter).Flush()
	return b.strike(p[room:], len(p))
}

// strike does what the fault is for, once After bytes are out. rest is what was not yet sent of a write of n bytes.
func (b *body) strike(rest []byte, n int) (int, error) {
	switch b.fault.Kind {
	case WrongLength:
		b.done = true
		return n, nil
	case Stall:
		if b.fault.Delay == 0 {
			<-b.ctx.Done()
			return 0, b.ctx.Err()
		}
		if !pause(b.ctx, b.fault.Delay) {
			return 0, b.ctx.Err()
		}
		b.fault.After = 1 << 62
		b.sent += int64(len(rest))
		_, err := b.ResponseWriter.Write(rest)
		return n, err
	}
	drop(b.ResponseWriter, b.fault.Kind == Cut)
	return 0, net.ErrClosed
}

// slowly sends twenty pieces a second.
func (b *body) slowly(p []byte) (int, error) {
	piece := int(max(b.fault.Rate/20, 1))
	sent := 0
	for sent < len(p) {
		end := min(sent+piece, len(p))
		if !pause(b.ctx, time.Duration(end-sent)*time.Second/time.Duration(b.fault.Rate)) {
			return sent, b.ctx.Err()
		}
		n, err := b.ResponseWriter.Write(p[sent:end])
		sent += n
		if err != nil {
			return sent, err
		}
		_ = http.NewResponseController(b.ResponseWriter).Flush()
	}
	return sent, nil
}

package state

import (
	"fmt"
	"sync"
	"testing"
)

// The service hands out the next command of a deployment as soon as it has the report of the last one.
func TestTheEndOfOneCommandNeverRemovesTheRecordOfTheNext(t *testing.T) {
	r := NewRoot(t.TempDir(), "")
	if err := r.Create(); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		last, next := fmt.Sprintf("hc-%d-last", i), fmt.Sprintf("hc-%d-next", i)
		if err := r.Track("d-1", last); err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			if err := r.Untrack("d-1", last); err != nil {
				t.Error(err)
			}
		})
		both.Go(func() {
			if err := r.Track("d-1", next); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
		tracked, err := r.AllTracked()
		if err != nil || len(tracked) != 1 || tracked[0].HostCommandIdentifier != next {
			t.Fatalf("round %d: %+v, %v", i, tracked, err)
		}
	}
}

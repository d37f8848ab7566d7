package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// namespaceDir is where "ip netns" keeps namespaces.
const namespaceDir = "/run/netns"

// network is a namespace that outlives the guest's reboots, with a cable to the host.
type network struct {
	name string // of the namespace
	link string // the host's end of the cable
	host string // address of the host's end
	addr string // address of the guest's end
}

// newNetwork lays a cable with a /30 of the block that is set aside for tests of networks (198.18.0.0/15).
func newNetwork() (*network, error) {
	for range 20 {
		i := rand.IntN(1 << 15)
		third, fourth := i>>6&0xff, (i&0x3f)<<2
		second := 18 + i>>14
		n := &network{
			name: fmt.Sprintf("%s%d-%x", dirPrefix, os.Getpid(), i),
			link: fmt.Sprintf("cdlab%x", i),
			host: fmt.Sprintf("198.%d.%d.%d", second, third, fourth+1),
			addr: fmt.Sprintf("198.%d.%d.%d", second, third, fourth+2),
		}
		// The link's name is the reservation of its addresses.
		if err := ip("link", "add", n.link, "type", "veth", "peer", "name", n.link+"g"); err != nil {
			if strings.Contains(err.Error(), "exists") {
				continue
			}
			return nil, err
		}
		if err := n.plug(); err != nil {
			n.remove()
			return nil, err
		}
		return n, nil
	}
	return nil, errors.New("cannot find free addresses for the guest")
}

func (n *network) plug() error {
	for _, args := range [][]string{
		{"netns", "add", n.name},
		{"link", "set", n.link + "g", "netns", n.name, "name", "host0"},
		{"addr", "add", n.host + "/30", "dev", n.link},
		{"link", "set", n.link, "up"},
		{"-n", n.name, "link", "set", "lo", "up"},
		{"-n", n.name, "addr", "add", n.addr + "/30", "dev", "host0"},
		{"-n", n.name, "link", "set", "host0", "up"},
	} {
		if err := ip(args...); err != nil {
			return err
		}
	}
	return nil
}

func (n *network) path() string { return filepath.Join(namespaceDir, n.name) }

func (n *network) remove() {
	_ = ip("link", "del", n.link) // the other end goes with it
	removeNamespace(n.name)
}

func removeNamespace(name string) { _ = ip("netns", "del", name) }

func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// HostAddress is the host's address as the guest reaches it. It exists as long as the guest does.
func (g *Guest) HostAddress() string { return g.network.host }

// Address is the guest's address as the host reaches it.
func (g *Guest) Address() string { return g.network.addr }

// Unplug takes the guest's network away; Plug brings it back.
func (g *Guest) Unplug() { g.mustIP("link", "set", g.network.link, "down") }

// Plug brings the guest's network back.
func (g *Guest) Plug() { g.mustIP("link", "set", g.network.link, "up") }

// Swallow lets everything that the guest sends to the host vanish without an answer, as a security group does it; Deliver
// ends that.
func (g *Guest) Swallow() {
	g.mustIP("-n", g.network.name, "neigh", "replace", g.network.host, "lladdr", "02:00:00:00:00:01", "dev", "host0", "nud", "permanent")
}

// Deliver lets the guest reach the host again.
func (g *Guest) Deliver() {
	g.mustIP("-n", g.network.name, "neigh", "del", g.network.host, "dev", "host0")
}

func (g *Guest) mustIP(args ...string) {
	g.t.Helper()
	if err := ip(args...); err != nil {
		g.t.Fatal(err)
	}
}

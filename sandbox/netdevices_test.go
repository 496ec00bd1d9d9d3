package sandbox

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// netNamespace is a process that sleeps in a network namespace of its own.
func netNamespace(t *testing.T) (pid int, ns *os.File) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	cmd := exec.Command("/bin/sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	ns, err := os.Open(nsPath(cmd.Process.Pid, specs.NetworkNamespace))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return cmd.Process.Pid, ns
}

// addVeth makes a pair of virtual interfaces in the network namespace of the
// calling thread (rtnetlink(7), veth(4)).
func addVeth(name, peer string) error {
	const linkInfoKind, linkInfoData, vethInfoPeer = 1, 2, 1 // IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER
	other := appendAttr(linkMessage(0, 0), unix.IFLA_IFNAME, append([]byte(peer), 0))
	info := appendAttr(nil, linkInfoKind, []byte("veth\x00"))
	info = appendAttr(info, linkInfoData, appendAttr(nil, vethInfoPeer, other))
	body := appendAttr(linkMessage(0, 0), unix.IFLA_IFNAME, append([]byte(name), 0))
	return routeRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, appendAttr(body, unix.IFLA_LINKINFO, info))
}

// addAddress gives an interface an address; lifetime is in seconds, 0 for ever.
func addAddress(name, cidr string, scope uint8, lifetime uint32) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	ip, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	family, raw := unix.AF_INET6, []byte(ip)
	if v4 := ip.To4(); v4 != nil {
		family, raw = unix.AF_INET, v4
	}
	ones, _ := network.Mask.Size()
	body := []byte{byte(family), byte(ones), 0, scope}
	body = binary.NativeEndian.AppendUint32(body, uint32(link.Index))
	body = appendAttr(body, unix.IFA_LOCAL, raw)
	body = appendAttr(body, unix.IFA_ADDRESS, raw)
	body = appendAttr(body, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, unix.IFA_F_NODAD))
	if lifetime > 0 {
		info := make([]byte, 16) // struct ifa_cacheinfo: preferred, valid, created, updated
		binary.NativeEndian.PutUint32(info, lifetime)
		binary.NativeEndian.PutUint32(info[4:], lifetime)
		body = appendAttr(body, unix.IFA_CACHEINFO, info)
	}
	return routeRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body)
}

// TestMoveNetDevices moves interfaces between two network namespaces that
// stand for the host's and a container's.
func TestMoveNetDevices(t *testing.T) {
	tests := []struct {
		name    string
		devices map[string]specs.LinuxNetDevice
		want    []string // interfaces of the container afterwards
		err     string
	}{
		{"as it is", map[string]specs.LinuxNetDevice{"host0": {}}, []string{"host0", "lo", "taken", "taken1"}, ""},
		{"renamed", map[string]specs.LinuxNetDevice{"host0": {Name: "eth0"}}, []string{"eth0", "lo", "taken", "taken1"}, ""},
		{"by a template", map[string]specs.LinuxNetDevice{"host0": {Name: "eth%d"}, "host1": {Name: "eth%d"}}, []string{"eth0", "eth1", "lo", "taken", "taken1"}, ""},
		{"a name that is taken", map[string]specs.LinuxNetDevice{"host0": {}, "host1": {Name: "taken"}}, []string{"lo", "taken", "taken1"}, `linux.netDevices["host1"]: the container has a network device taken already`},
		{"not there", map[string]specs.LinuxNetDevice{"host0": {}, "none0": {}}, []string{"lo", "taken", "taken1"}, `linux.netDevices["none0"]: no such network device`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, host := netNamespace(t)
			pid, container := netNamespace(t)
			err := inNetNamespace(container, func() error { return addVeth("taken", "taken1") })
			if err != nil {
				t.Fatal(err)
			}
			err = inNetNamespace(host, func() error {
				return errors.Join(
					addVeth("host0", "host1"),
					addAddress("host0", "192.0.2.5/24", unix.RT_SCOPE_UNIVERSE, 0),
					addAddress("host0", "198.51.100.1/32", unix.RT_SCOPE_LINK, 0),
					addAddress("host0", "203.0.113.9/24", unix.RT_SCOPE_UNIVERSE, 3600),
					addAddress("host0", "2001:db8::5/64", unix.RT_SCOPE_UNIVERSE, 0),
				)
			})
			if err != nil {
				t.Fatal(err)
			}
			err = inNetNamespace(host, func() error { return moveNetDevices(pid, test.devices) })
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("error %v, want %q", err, test.err)
			}
			var names []string
			err = inNetNamespace(container, func() error {
				links, err := net.Interfaces()
				for _, link := range links {
					names = append(names, link.Name)
					if link.Name == "lo" || strings.HasPrefix(link.Name, "taken") {
						continue
					}
					if link.Flags&net.FlagUp == 0 {
						t.Errorf("%s is not up", link.Name)
					}
					if link.Name != "eth1" {
						checkAddresses(t, &link)
					}
				}
				return err
			})
			slices.Sort(names)
			if err != nil || !slices.Equal(names, test.want) {
				t.Errorf("the container has %v, error %v; want %v", names, err, test.want)
			}
		})
	}
}

// checkAddresses: those stay that are permanent and of global scope; a
// link-local one the kernel makes itself.
func checkAddresses(t *testing.T, link *net.Interface) {
	t.Helper()
	addrs, err := link.Addrs()
	var list []string
	for _, a := range addrs {
		if ip, _, _ := net.ParseCIDR(a.String()); !ip.IsLinkLocalUnicast() {
			list = append(list, a.String())
		}
	}
	if want := []string{"192.0.2.5/24", "2001:db8::5/64"}; err != nil || !slices.Equal(list, want) {
		t.Errorf("%s has %v, error %v; want %v", link.Name, list, err, want)
	}
}

func TestCheckNetDevices(t *testing.T) {
	for _, test := range []struct {
		devices map[string]specs.LinuxNetDevice
		err     string
	}{
		{nil, ""},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "eth1"}, "eth1": {Name: "eth0"}}, ""},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "eth%d"}, "eth1": {Name: "eth%d"}}, ""},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "x"}, "eth1": {Name: "x"}}, `linux.netDevices["eth1"].name: "x" is the name of "eth0", too`},
		{map[string]specs.LinuxNetDevice{"": {}}, `linux.netDevices[""]: "" cannot`},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: ".."}}, `".." cannot`},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "a/b"}}, `"a/b" cannot`},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "sixteen-letters-"}}, `"sixteen-letters-" cannot`},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "a b"}}, `"a b" cannot`},
		{map[string]specs.LinuxNetDevice{"eth%d": {}}, "template"},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "%s"}}, "template"},
		{map[string]specs.LinuxNetDevice{"eth0": {Name: "%d%d"}}, "template"},
	} {
		err := checkNetDevices(test.devices)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%v: error %v, want %q", test.devices, err, test.err)
		}
	}
}

// TestNetDevices gives a container an interface of the host, which is the
// network namespace of a child of the test.
func TestNetDevices(t *testing.T) {
	b := shell(t, "ip -o -4 addr show eth0; ip -o link show eth0 | grep -c UP")
	b.namespace(specs.NetworkNamespace, "")
	b.spec.Linux.NetDevices = map[string]specs.LinuxNetDevice{"host0": {Name: "eth0"}}
	b.refused(`linux.netDevices["host0"]: no such network device on the host`)
	j := b.save()
	j.Create, j.Start, j.Wait, j.Delete, j.Veth = true, true, true, true, [2]string{"host0", "192.0.2.7/24"}
	cmd := j.command(t)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	cmd.Stdout, cmd.Stderr = b.out, b.out
	err := cmd.Run()
	if out := contents(t, b.out); err != nil || !strings.Contains(out, "192.0.2.7/24") || !strings.HasSuffix(out, "\n1\n") {
		t.Errorf("%v, output:\n%s", err, out)
	}
}

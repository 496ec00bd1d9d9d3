package sandbox

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// moveNetDevices moves network interfaces of the host into the network namespace
// of a process, as the runtime spec has it (config-linux.md, "Network Devices"):
// under another name where one is given, with the addresses that are meant to
// last, and up.
//
// What can be checked is checked for all of them before the first is moved: one
// that has been moved to a namespace that ends with a failed creation is gone,
// if it is virtual.
func moveNetDevices(pid int, devices map[string]specs.LinuxNetDevice) error {
	if len(devices) == 0 {
		return nil
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
	if err != nil {
		return fmt.Errorf("linux.netDevices: %w", err)
	}
	defer ns.Close()
	moves := make([]netMove, 0, len(devices))
	for _, host := range slices.Sorted(maps.Keys(devices)) {
		m := netMove{host: host, name: devices[host].Name}
		if m.name == "" {
			m.name = host
		}
		if err := m.read(); err != nil {
			return fmt.Errorf("linux.netDevices[%q]: %w", host, err)
		}
		moves = append(moves, m)
	}
	err = inNetNamespace(ns, func() error {
		for i := range moves {
			if _, err := net.InterfaceByName(moves[i].name); err == nil {
				return fmt.Errorf("linux.netDevices[%q]: the container has a network device %s already", moves[i].host, moves[i].name)
			}
		}
		return nil
	})
	for i := range moves {
		if err == nil {
			if err = moves[i].carryOut(ns); err != nil {
				err = fmt.Errorf("linux.netDevices[%q]: %w", moves[i].host, err)
			}
		}
	}
	return err
}

// netMove is an interface on its way into a container.
type netMove struct {
	host, name string // its name on the host, and in the container; may end in %d
	index      int
	addresses  []netAddress
}

// netAddress is an address of an interface, as rtnetlink(7) tells it.
type netAddress struct {
	header syscall.IfAddrmsg
	flags  uint32
	attrs  []syscall.NetlinkRouteAttr
}

// read finds the interface on the host, and its addresses that are permanent
// and of global scope.
func (m *netMove) read() error {
	link, err := net.InterfaceByName(m.host)
	if err != nil {
		return fmt.Errorf("no such network device on the host: %w", err)
	}
	m.index = link.Index
	dump, err := syscall.NetlinkRIB(unix.RTM_GETADDR, unix.AF_UNSPEC)
	if err != nil {
		return fmt.Errorf("read the addresses: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return fmt.Errorf("read the addresses: %w", err)
	}
	for i := range messages {
		a, ok := parseAddress(&messages[i])
		if ok && int(a.header.Index) == m.index && a.header.Scope == unix.RT_SCOPE_UNIVERSE && a.flags&unix.IFA_F_PERMANENT != 0 {
			m.addresses = append(m.addresses, a)
		}
	}
	return nil
}

func parseAddress(message *syscall.NetlinkMessage) (a netAddress, ok bool) {
	if message.Header.Type != unix.RTM_NEWADDR || len(message.Data) < unix.SizeofIfAddrmsg {
		return a, false
	}
	d := message.Data
	a.header = syscall.IfAddrmsg{Family: d[0], Prefixlen: d[1], Flags: d[2], Scope: d[3], Index: binary.NativeEndian.Uint32(d[4:])}
	a.flags = uint32(a.header.Flags)
	attrs, err := syscall.ParseNetlinkRouteAttr(message)
	if err != nil {
		return a, false
	}
	for _, attr := range attrs {
		switch attr.Attr.Type {
		case unix.IFA_FLAGS:
			if len(attr.Value) >= 4 {
				a.flags = binary.NativeEndian.Uint32(attr.Value)
			}
		case unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY:
			a.attrs = append(a.attrs, attr)
		}
	}
	return a, true
}

// carryOut moves the interface, renames it, gives it its addresses back, which
// the kernel takes from one that leaves its namespace, and sets it up.
func (m *netMove) carryOut(ns *os.File) error {
	var before []net.Interface
	list := func() (err error) { before, err = net.Interfaces(); return }
	if err := inNetNamespace(ns, list); err != nil {
		return fmt.Errorf("list the container's network devices: %w", err)
	}
	body := linkMessage(m.index, 0)
	body = appendAttr(body, unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(ns.Fd())))
	body = appendAttr(body, unix.IFLA_IFNAME, append([]byte(m.name), 0))
	if err := routeRequest(unix.RTM_NEWLINK, 0, body); err != nil {
		return fmt.Errorf("move the network device into the container as %s: %w", m.name, err)
	}
	return inNetNamespace(ns, func() error {
		now, err := net.Interfaces()
		if err != nil {
			return err
		}
		// Its number there may be another one, and a name with %d is made up by the kernel.
		at := slices.IndexFunc(now, func(link net.Interface) bool {
			return !slices.ContainsFunc(before, func(old net.Interface) bool { return old.Index == link.Index })
		})
		if at < 0 {
			return fmt.Errorf("the network device is not in the container after it was moved there")
		}
		return m.configure(now[at].Index)
	})
}

func (m *netMove) configure(index int) error {
	for _, a := range m.addresses {
		body := []byte{a.header.Family, a.header.Prefixlen, 0, a.header.Scope}
		body = binary.NativeEndian.AppendUint32(body, uint32(index))
		for _, attr := range a.attrs {
			body = appendAttr(body, attr.Attr.Type, attr.Value)
		}
		const kept = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_MCAUTOJOIN
		body = appendAttr(body, unix.IFA_FLAGS, binary.NativeEndian.AppendUint32(nil, a.flags&kept))
		if err := routeRequest(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, body); err != nil {
			return fmt.Errorf("give %s its address back: %w", m.name, err)
		}
	}
	if err := routeRequest(unix.RTM_NEWLINK, 0, linkMessage(index, unix.IFF_UP)); err != nil {
		return fmt.Errorf("set %s up: %w", m.name, err)
	}
	return nil
}

// linkMessage is a struct ifinfomsg that sets flags (rtnetlink(7)).
func linkMessage(index int, flags uint32) []byte {
	body := binary.NativeEndian.AppendUint32(make([]byte, 4, unix.SizeofIfInfomsg), uint32(index))
	body = binary.NativeEndian.AppendUint32(body, flags)
	return binary.NativeEndian.AppendUint32(body, flags) // the mask of flags that change
}

// appendAttr adds a struct rtattr, padded to four bytes.
func appendAttr(body []byte, kind uint16, value []byte) []byte {
	body = binary.NativeEndian.AppendUint16(body, uint16(unix.SizeofRtAttr+len(value)))
	body = binary.NativeEndian.AppendUint16(body, kind)
	body = append(body, value...)
	return append(body, make([]byte, -len(value)&3)...)
}

// routeRequest asks the kernel, in the network namespace of the calling
// thread, to change something, and gives its answer (netlink(7)).
func routeRequest(kind, flags uint16, body []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	request = binary.NativeEndian.AppendUint16(request, kind)
	request = binary.NativeEndian.AppendUint16(request, flags|unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	request = binary.NativeEndian.AppendUint32(request, 1) // sequence number
	request = binary.NativeEndian.AppendUint32(request, 0) // port: the kernel's
	if err := unix.Sendto(fd, append(request, body...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, os.Getpagesize())
	for {
		n, _, err := unix.Recvfrom(fd, answer, 0)
		if err == unix.EINTR {
			continue
		} else if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(answer[:n])
		if err != nil {
			return err
		}
		for _, message := range messages {
			if message.Header.Type != unix.NLMSG_ERROR || len(message.Data) < 4 {
				continue
			}
			if code := int32(binary.NativeEndian.Uint32(message.Data)); code != 0 {
				return unix.Errno(-code)
			}
			return nil
		}
	}
}

// inNetNamespace runs do in a network namespace, on a thread of its own that
// ends with it.
func inNetNamespace(ns *os.File, do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// checkNetDevices refuses names that no network interface can have (the
// kernel's dev_valid_name), and two interfaces of one name.
func checkNetDevices(devices map[string]specs.LinuxNetDevice) error {
	taken := map[string]string{}
	for _, host := range slices.Sorted(maps.Keys(devices)) {
		name := devices[host].Name
		if name == "" {
			name = host
		}
		if other, ok := taken[name]; ok && !strings.Contains(name, "%") {
			return fmt.Errorf("linux.netDevices[%q].name: %q is the name of %q, too", host, name, other)
		}
		taken[name] = host
		for _, n := range []string{host, name} {
			if n == "" || n == "." || n == ".." || len(n) >= unix.IFNAMSIZ || strings.ContainsAny(n, "/: \t\n\v\f\r\x00") {
				return fmt.Errorf("linux.netDevices[%q]: %q cannot be the name of a network device", host, n)
			}
		}
		if strings.Contains(host, "%") || strings.Count(name, "%") > 1 || strings.Contains(name, "%") && !strings.Contains(name, "%d") {
			return fmt.Errorf("linux.netDevices[%q]: the only template that may be in the name is one %%d", host)
		}
	}
	return nil
}

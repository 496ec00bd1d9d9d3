package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the service manager on its bus (org.freedesktop.systemd1(5)).
const (
	service  = "org.freedesktop.systemd1"
	manager  = service + ".Manager"
	rootPath = dbus.ObjectPath("/org/freedesktop/systemd1")
)

// timeout bounds how long the manager may take over a request and its job. runc waits as long.
const timeout = 30 * time.Second

// Property is a setting of a unit, as StartTransientUnit takes it.
type Property struct {
	Name  string
	Value dbus.Variant
}

// NewProperty makes a property of a value that D-Bus has a type for.
func NewProperty(name string, value any) Property {
	return Property{name, dbus.MakeVariant(value)}
}

// ConnectError says that the manager cannot be reached.
type ConnectError struct{ Err error }

func (e *ConnectError) Error() string {
	return fmt.Sprintf("--systemd-cgroup: connect to systemd: %v (set the engine's cgroup manager to cgroupfs)", e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Manager is a connection to a service manager, for one goroutine.
type Manager struct {
	conn    *dbus.Conn
	object  dbus.BusObject
	removed chan *dbus.Signal
	version int
}

// Connect connects to the system's manager or to the caller's own.
//
// # Errors
//
// A [ConnectError].
func Connect(user bool) (*Manager, error) {
	conn, err := connect(user)
	if err != nil {
		return nil, &ConnectError{err}
	}
	m := &Manager{conn: conn, object: conn.Object(service, rootPath), removed: make(chan *dbus.Signal, 64)}
	conn.Signal(m.removed)
	return m, nil
}

// connect finds the bus as libsystemd does: the environment comes first
// (sd_bus_default(3)).
func connect(user bool) (*dbus.Conn, error) {
	if user {
		address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
		if dir := os.Getenv("XDG_RUNTIME_DIR"); address == "" && dir != "" {
			address = "unix:path=" + dbus.EscapeBusAddressValue(dir+"/bus")
		}
		if address == "" {
			return nil, errors.New("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
		}
		return dial(address, true)
	}
	if address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); address != "" {
		return dial(address, true)
	}
	conn, err := dial("unix:path=/run/dbus/system_bus_socket", true)
	if err != nil && os.Geteuid() == 0 {
		// A host need not have a bus for root to reach its manager.
		if direct, err := dial("unix:path=/run/systemd/private", false); err == nil {
			return direct, nil
		}
	}
	return conn, err
}

// dial connects to a bus, or directly to the manager.
func dial(address string, bus bool) (*dbus.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := dbus.Dial(address)
	if err != nil {
		return nil, err
	}
	// The library's handshake has no limit of its own. The user is told by the
	// socket, which holds in a user namespace too.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil && bus {
		if err = conn.Hello(); err == nil {
			err = conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(service), dbus.WithMatchInterface(manager), dbus.WithMatchMember("JobRemoved"))
		}
		if err == nil {
			// Without a subscriber, the manager keeps its signals to itself.
			err = conn.Object(service, rootPath).CallWithContext(ctx, manager+".Subscribe", 0).Err
		}
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	return conn, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.Close() }

// call makes a request and stores what comes back.
func (m *Manager) call(ctx context.Context, reply any, method string, args ...any) error {
	call := m.object.CallWithContext(ctx, manager+"."+method, 0, args...)
	if reply == nil || call.Err != nil {
		return call.Err
	}
	return call.Store(reply)
}

// await waits for a job to end and returns its result, "done" when it went well.
func (m *Manager) await(ctx context.Context, job dbus.ObjectPath) (string, error) {
	for {
		select {
		case s, ok := <-m.removed:
			if !ok {
				return "", errors.New("systemd has closed the connection")
			}
			var id uint32
			var path dbus.ObjectPath
			var unit, result string
			if s.Name == manager+".JobRemoved" && dbus.Store(s.Body, &id, &path, &unit, &result) == nil && path == job {
				return result, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("systemd has not done it within %v", timeout)
		}
	}
}

// auxiliary is an argument of StartTransientUnit that is always empty.
type auxiliary struct {
	Name       string
	Properties []Property
}

// Start makes a transient unit and returns when it is there. A unit of this name
// that has failed is cleared away first.
func (m *Manager) Start(name string, properties []Property) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var job dbus.ObjectPath
	start := func() error {
		return m.call(ctx, &job, "StartTransientUnit", name, "replace", properties, []auxiliary{})
	}
	err := start()
	if isError(err, "UnitExists") && m.call(ctx, nil, "ResetFailedUnit", name) == nil {
		err = start()
	}
	result := ""
	if err == nil {
		result, err = m.await(ctx, job)
	}
	if err == nil && result != "done" {
		_ = m.call(ctx, nil, "ResetFailedUnit", name)
		err = fmt.Errorf("the job ended as %q (journalctl -u %s)", result, name)
	}
	if err != nil {
		return fmt.Errorf("systemd: start %s: %w", name, err)
	}
	return nil
}

// SetProperties changes a unit until it is stopped.
func (m *Manager) SetProperties(name string, properties []Property) error {
	if len(properties) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	const untilStopped = true
	if err := m.call(ctx, nil, "SetUnitProperties", name, untilStopped, properties); err != nil {
		return fmt.Errorf("systemd: change %s: %w", name, err)
	}
	return nil
}

// Attach moves processes into the unit's control group.
func (m *Manager) Attach(name string, pids ...int) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := m.call(ctx, nil, "AttachProcessesToUnit", name, "", pidList(pids)); err != nil {
		return fmt.Errorf("systemd: add processes %v to %s: %w", pids, name, err)
	}
	return nil
}

func pidList(pids []int) []uint32 {
	list := make([]uint32, len(pids))
	for i, pid := range pids {
		list[i] = uint32(pid)
	}
	return list
}

// Stop ends a unit and all its processes, and has a failed one forgotten. One
// that does not exist is fine.
func (m *Manager) Stop(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var job dbus.ObjectPath
	err := m.call(ctx, &job, "StopUnit", name, "replace")
	if err == nil {
		_, err = m.await(ctx, job)
	}
	if err != nil && !isError(err, "NoSuchUnit") {
		return fmt.Errorf("systemd: stop %s: %w", name, err)
	}
	_ = m.call(ctx, nil, "ResetFailedUnit", name) // it is gone, unless it failed
	return nil
}

// property reads a property of the manager itself.
func (m *Manager) property(name string) (string, error) {
	value, err := m.object.GetProperty(manager + "." + name)
	if err != nil {
		return "", fmt.Errorf("systemd: read %s: %w", name, err)
	}
	text, ok := value.Value().(string)
	if !ok {
		return "", fmt.Errorf("systemd: %s is %s, not a string", name, value)
	}
	return text, nil
}

// ControlGroup is the manager's own control group, below which its units are: "/"
// for the system's.
func (m *Manager) ControlGroup() (string, error) {
	group, err := m.property("ControlGroup")
	return "/" + strings.Trim(group, "/"), err
}

// Version is the manager's major version, 0 when it does not tell.
func (m *Manager) Version() int {
	if m.version == 0 {
		text, _ := m.property("Version") // "252.38-1~deb12u1", in old ones "v244.3"
		text = strings.TrimPrefix(text, "v")
		if end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
			text = text[:end]
		}
		m.version, _ = strconv.Atoi(text)
	}
	return m.version
}

// isError tells whether err is the manager's error of that name.
func isError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == service+"."+name
}

package systemdtest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/godbus/dbus/v5"
)

// Unit is a transient unit that somebody has started.
type Unit struct {
	Name       string
	Properties map[string]any // the last value of each
	// Changed are the properties that were set later, in order.
	Changed []string
}

// Manager is the stand-in. Its fields are set before it is used.
type Manager struct {
	// Address is where it listens, for DBUS_SYSTEM_BUS_ADDRESS.
	Address string
	// Version and ControlGroup are what it says of itself.
	Version, ControlGroup string
	// Result is how jobs end: "done", if empty.
	Result string
	// Errors are the names of the errors that methods answer with: for
	// "StopUnit", say, "org.freedesktop.DBus.Error.AccessDenied".
	Errors map[string]string
	// Started and Stopped do what a unit's start and end do to the world; nil is nothing.
	Started func(*Unit) error
	Stopped func(*Unit)

	mu    sync.Mutex
	conns []net.Conn
	units map[string]*Unit
	calls []string
	jobs  int
}

// New starts a manager that ends with the test.
func New(t testing.TB) *Manager {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "bus")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manager{Address: "unix:path=" + socket, Version: "252.38-1~deb12u1", units: map[string]*Unit{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			m.mu.Lock()
			m.conns = append(m.conns, conn)
			m.mu.Unlock()
			all.Go(func() {
				defer conn.Close()
				if err := m.serve(conn); err != nil && err != io.EOF {
					t.Errorf("systemdtest: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		m.mu.Lock()
		for _, conn := range m.conns {
			conn.Close() // a client that is still there is waited for in vain
		}
		m.mu.Unlock()
		all.Wait()
		for name := range m.Units() {
			t.Errorf("systemdtest: %s was left behind", name)
			m.stop(name)
		}
	})
	return m
}

// Units are those that are there.
func (m *Manager) Units() map[string]Unit {
	m.mu.Lock()
	defer m.mu.Unlock()
	units := map[string]Unit{}
	for name, u := range m.units {
		units[name] = Unit{Name: name, Properties: maps.Clone(u.Properties), Changed: append([]string(nil), u.Changed...)}
	}
	return units
}

// Calls are the methods of the manager that were called, with the unit's name: "StopUnit a.scope".
func (m *Manager) Calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.calls...)
}

// connection is one client.
type connection struct {
	net.Conn
	in     *bufio.Reader
	serial uint32
}

// serve speaks with one client until it goes (D-Bus specification,
// "Authentication Protocol" and "Message Protocol").
func (m *Manager) serve(conn net.Conn) error {
	c := &connection{Conn: conn, in: bufio.NewReader(conn)}
	if err := c.authenticate(); err != nil {
		return err
	}
	for {
		msg, err := dbus.DecodeMessage(c.in)
		if err != nil {
			return io.EOF
		}
		if msg.Type != dbus.TypeMethodCall {
			continue
		}
		member, _ := msg.Headers[dbus.FieldMember].Value().(string)
		body, signal, name := m.answer(member, msg.Body)
		// As systemd does, whose jobs can be over before the caller knows their names.
		if signal != nil {
			err = c.send(&dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
				dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/org/freedesktop/systemd1")), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.systemd1.Manager"),
				dbus.FieldMember: dbus.MakeVariant("JobRemoved"), dbus.FieldSender: dbus.MakeVariant(":1.0"),
			}, Body: signal})
		}
		if err == nil {
			err = c.reply(msg, body, name)
		}
		if err != nil {
			return err
		}
	}
}

func (c *connection) authenticate() error {
	if b, err := c.in.ReadByte(); err != nil || b != 0 {
		return io.EOF
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return io.EOF
		}
		answer := "ERROR"
		switch strings.TrimSpace(line) {
		case "AUTH":
			answer = "REJECTED EXTERNAL"
		case "AUTH EXTERNAL":
			answer = "DATA" // who are you?
		case "DATA": // whoever the socket says
			answer = "OK 0123456789abcdef0123456789abcdef"
		case "BEGIN":
			return nil
		}
		if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
			return err
		}
	}
}

// reply answers a call; name is that of an error, if it is one.
func (c *connection) reply(to *dbus.Message, body []any, name string) error {
	msg := &dbus.Message{Type: dbus.TypeMethodReply, Body: body, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldReplySerial: dbus.MakeVariant(to.Serial()), dbus.FieldSender: dbus.MakeVariant(":1.0"),
	}}
	if name != "" {
		msg.Type = dbus.TypeError
		msg.Headers[dbus.FieldErrorName] = dbus.MakeVariant(name)
	}
	return c.send(msg)
}

func (c *connection) send(msg *dbus.Message) error {
	if len(msg.Body) > 0 {
		msg.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(msg.Body...))
	}
	// The library sets serial numbers for its own connections only: the header
	// is 8 bytes in (D-Bus specification, "Message Format").
	c.serial++
	var buf strings.Builder
	if err := msg.EncodeTo(&buf, binary.LittleEndian); err != nil {
		return err
	}
	data := []byte(buf.String())
	binary.LittleEndian.PutUint32(data[8:], c.serial)
	_, err := c.Write(data)
	return err
}

// property is a setting as it comes over the bus.
type property struct {
	Name  string
	Value dbus.Variant
}

// answer carries out a call and returns what to reply, or an error's name and
// text, and the content of the signal that says that a job is over.
func (m *Manager) answer(member string, args []any) (body, signal []any, failure string) {
	var unit string
	if len(args) > 0 {
		unit, _ = args[0].(string)
	}
	m.mu.Lock()
	m.calls = append(m.calls, strings.TrimSpace(member+" "+unit))
	failure = m.Errors[member]
	m.mu.Unlock()
	if failure != "" {
		return []any{member + " is refused"}, nil, failure
	}
	job := func() ([]any, []any, string) {
		m.mu.Lock()
		m.jobs++
		path := dbus.ObjectPath(fmt.Sprintf("/org/freedesktop/systemd1/job/%d", m.jobs))
		m.mu.Unlock()
		result := m.Result
		if result == "" {
			result = "done"
		}
		return []any{path}, []any{uint32(m.jobs), path, unit, result}, ""
	}
	switch member {
	case "Hello":
		return []any{":1.1"}, nil, ""
	case "AddMatch", "Subscribe":
		return nil, nil, ""
	case "Get":
		value := map[any]string{"Version": m.Version, "ControlGroup": m.ControlGroup}[args[1]]
		return []any{dbus.MakeVariant(value)}, nil, ""
	case "StartTransientUnit":
		var props []property
		if err := dbus.Store(args[2:3], &props); err != nil {
			return []any{err.Error()}, nil, "org.freedesktop.DBus.Error.InvalidArgs"
		}
		if err := m.start(unit, props); err != nil {
			return []any{err.Error()}, nil, "org.freedesktop.systemd1.UnitExists"
		}
		return job()
	case "SetUnitProperties":
		var props []property
		if err := dbus.Store(args[2:3], &props); err != nil {
			return []any{err.Error()}, nil, "org.freedesktop.DBus.Error.InvalidArgs"
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		u := m.units[unit]
		if u == nil {
			return []any{"Unit " + unit + " not loaded."}, nil, "org.freedesktop.systemd1.NoSuchUnit"
		}
		u.set(props)
		for _, p := range props {
			u.Changed = append(u.Changed, p.Name)
		}
		return nil, nil, ""
	case "StopUnit":
		if !m.stop(unit) {
			return []any{"Unit " + unit + " not loaded."}, nil, "org.freedesktop.systemd1.NoSuchUnit"
		}
		return job()
	case "ResetFailedUnit":
		m.mu.Lock()
		defer m.mu.Unlock()
		if u := m.units[unit]; u == nil {
			return []any{"Unit " + unit + " not loaded."}, nil, "org.freedesktop.systemd1.NoSuchUnit"
		} else if u.Properties == nil {
			delete(m.units, unit)
		}
		return nil, nil, ""
	case "AttachProcessesToUnit":
		return nil, nil, ""
	}
	return []any{"no method " + member}, nil, "org.freedesktop.DBus.Error.UnknownMethod"
}

func (u *Unit) set(props []property) {
	for _, p := range props {
		u.Properties[p.Name] = p.Value.Value()
	}
}

// AddFailed makes a unit that has failed and is still known.
func (m *Manager) AddFailed(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[name] = &Unit{Name: name}
}

// AddRunning makes a unit that somebody else has started, without a control group.
func (m *Manager) AddRunning(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units[name] = &Unit{Name: name, Properties: map[string]any{}}
}

// Forget removes a unit from AddRunning.
func (m *Manager) Forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.units, name)
}

// start makes a unit. Its error is that one of its name is there, or that it cannot be started.
func (m *Manager) start(name string, props []property) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.units[name] != nil {
		return fmt.Errorf("Unit %s was already loaded or has a fragment file.", name) //lint:ignore ST1005 systemd's words
	}
	u := &Unit{Name: name, Properties: map[string]any{}}
	u.set(props)
	if m.Started != nil {
		if err := m.Started(u); err != nil {
			return err
		}
	}
	m.units[name] = u
	return nil
}

// stop ends a unit; false if there is none.
func (m *Manager) stop(name string) bool {
	m.mu.Lock()
	u := m.units[name]
	delete(m.units, name)
	m.mu.Unlock()
	if u != nil && m.Stopped != nil {
		m.Stopped(u)
	}
	return u != nil
}

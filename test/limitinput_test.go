package test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// TestLimitFlags gives the flags of launch limits that make no sense, and the ways to write one that does.
func TestLimitFlags(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("commit")
	sizes := []string{"", " ", "x", "-1", "-5m", "0", "1m", "1gg", "1 g b", "0x40000000", "NaN", "99999999999999g", "9223372036854775807", "129t"}
	for flag, values := range map[string][]string{
		"--memory": sizes, "--commit": sizes, "--commit-process": sizes,
		"--cpus": {"", "x", "-1", "0", "0.001", "4097", "1e9", "nan", "inf", "1,5", "50%"},
		"--pids": {"", "x", "-1", "0", "4", "4194305", "9999999999999999999", "1.5", "1k"},
	} {
		for _, value := range values {
			if line := b.run(flag, value, "commit.exe", "fresh", "1").wantLine(failed); !strings.Contains(line, strings.TrimLeft(flag, "-")) {
				t.Errorf("%s %q: %s", flag, value, line)
			}
		}
	}
	for _, same := range []string{"1g", "1gb", "1GB", "1Gi", "1GiB", "1.0g", "1024m", "1073741824"} {
		b.run("--memory", same, "--commit", same, "--commit-process", same, "--cpus", "4096", "--pids", "4194304", "commit.exe", "fresh", "1").want(0, "1 0\n")
	}
}

// TestLimitTooLow starts programs under limits that are too low for any: the error says how much one takes.
func TestLimitTooLow(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		program := m.build(t, "bss.exe", "bss")
		for _, limit := range []string{"1", "15m"} {
			line := b.run("--memory", limit, program).wantLine(failed)
			want := regexp.MustCompile(`^winbox: --memory: .* is less than 16 MiB, the least for a Windows program: ` +
				`a small one took [0-9.]+ MiB here to start and end, and committed [0-9.]+ MiB$`)
			if !want.MatchString(line) {
				t.Errorf("%q, want %s", line, want)
			}
		}
		for _, flag := range []string{"--memory", "--commit"} {
			c := b.run(flag, "16m", program)
			lines := strings.Split(strings.TrimSpace(c.err.String()), "\n") // Wine's own come before
			want := regexp.MustCompile(`^winbox: .*bss.exe ended with 0xC[0-9A-F]{7}: its container can commit 16 MiB, ` +
				`and a small program committed [0-9.]+ MiB here: raise ` + flag + `$`)
			if c.code() != 137 || !want.MatchString(lines[len(lines)-1]) {
				t.Errorf("exit code %d, %q, want 137 and %s", c.code(), lines, want)
			}
		}
	})
}

// TestLimitAnnotations gives annotations limits of commit that make no sense.
func TestLimitAnnotations(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("commit")
	for _, name := range []string{"io.winbox.memory.commit", "io.winbox.memory.commit.process"} {
		for _, value := range []string{"", "x", "-1", "0", "1m", "1gg", "99999999999999g", "129t", "OFF"} {
			id := b.id("bad")
			c := b.call("run", "--bundle", b.bundle(func(s *specs.Spec) {
				b.bare("commit.exe")(s)
				s.Annotations = map[string]string{name: value}
			}, "/app/commit.exe"), id).wait()
			if line := c.wantLine(1); !strings.Contains(line, name+": ") {
				t.Errorf("%s %q: %s", name, value, line)
			}
			b.wantNothing(id)
		}
		for _, value := range []string{"1g", "1gb", "1Gi", "off"} {
			b.call("run", "--bundle", b.bundle(func(s *specs.Spec) {
				b.bare("commit.exe")(s)
				s.Annotations = map[string]string{name: value}
			}, "/app/commit.exe", "fresh", "1"), b.id("good")).wait().want(0, "1 0\n")
		}
	}
}

// TestLimitFields puts limits that make no sense into config.json.
func TestLimitFields(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("commit")
	for _, test := range []struct{ resources, says string }{
		{`{"memory":{"limit":"1g"}}`, "linux.resources.memory.limit"},
		{`{"memory":{"limit":1.5}}`, "linux.resources.memory.limit"},
		{`{"memory":{"limit":1e30}}`, "linux.resources.memory.limit"},
		{`{"memory":{"limit":-5}}`, "linux.resources.memory.limit"},
		{`{"memory":{"limit":1048576}}`, "resources.memory.limit: 1 MiB is less than 16 MiB"},
		{`{"memory":{"limit":67108864,"swap":1048576}}`, "linux.resources.memory.swap"},
		{`{"memory":{"limit":67108864,"swap":-5}}`, "linux.resources.memory.swap"},
		{`{"memory":{"reservation":-5}}`, "linux.resources.memory.reservation"},
		{`{"cpu":{"shares":-1}}`, "linux.resources.cpu.shares"},
		{`{"cpu":{"quota":1}}`, "linux.resources.cpu.quota"},
		{`{"cpu":{"period":1}}`, "linux.resources.cpu."},
		{`{"cpu":{"cpus":"9999"}}`, "linux.resources.cpu.cpus"},
		{`{"cpu":{"cpus":"a"}}`, "linux.resources.cpu.cpus"},
		{`{"cpu":{"mems":"999"}}`, "linux.resources.cpu.mems"},
		{`{"pids":{"limit":"many"}}`, "linux.resources.pids.limit"},
		{`{"pids":{"limit":4194305}}`, "linux.resources.pids.limit"},
		{`{"blockIO":{"weight":99999}}`, "linux.resources.blockIO.weight"},
		{`{"hugepageLimits":[{"pageSize":"3MB","limit":1}]}`, "linux.resources.hugepageLimits[0]"},
		{`{"rdma":{"mlx5_1":{"hcaHandles":-1}}}`, "linux.resources.rdma.mlx5_1.hcaHandles"},
		{`{"rdma":{"mlx5_1":{"hcaHandles":1}}}`, "linux.resources.rdma.mlx5_1"},
	} {
		id := b.id("bad")
		dir := b.bundle(func(s *specs.Spec) {
			b.bare("commit.exe")(s)
			s.Linux.Resources = nil
		}, "/app/commit.exe", "fresh", "1")
		config := readFile(t, dir+"/config.json")
		writeFile(t, dir, "config.json", replace(`"linux":{`, `"linux":{"resources":`+test.resources+`,`)([]byte(config)))
		c := b.call("run", "--bundle", dir, id).wait()
		if line := c.wantLine(1); !strings.Contains(line, test.says) {
			t.Errorf("%s: %s", test.resources, line)
		}
		b.wantNothing(id)
	}
}

// TestLimitUpdates changes the limits of a running program to what makes no sense: nothing changes.
func TestLimitUpdates(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	c := b.launch("--memory", "128m", b.program("quota"))
	stdin := c.follow()
	c.quotaFacts()
	id, _ := b.container()
	for _, words := range [][]string{
		{"--memory", ""}, {"--memory", "x"}, {"--memory", "-5"}, {"--memory", "1gg"}, {"--memory", "99999999999999g"},
		{"--memory-swap", "x"}, {"--memory-swap", "-5m"}, {"--memory-swap", "1m"}, {"--memory-reservation", "-5"}, {"--memory-reservation", "1x"},
		{"--pids-limit", ""}, {"--pids-limit", "many"}, {"--pids-limit", "4194305"},
		{"--cpu-quota", "1"}, {"--cpu-quota", "1ms"}, {"--cpu-period", "1"}, {"--cpu-period", "-1"}, {"--cpu-share", "-1"}, {"--cpuset-cpus", "9999"},
		{"--cpuset-mems", "x"}, {"--blkio-weight", "5"}, {"--blkio-weight", "x"}, {"--cpu-idle", "7"},
	} {
		line := b.call(append(append([]string{"update"}, words...), id)...).wait().wantLine(1)
		if !strings.Contains(line, words[0]) && !strings.Contains(line, "linux.resources.") {
			t.Errorf("%s: %s", words, line)
		}
	}
	if _, err := stdin.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	c.quotaFacts().want(t, 128<<20, "basic.total", "info.total", "info.limit")
	stdin.Close()
	c.wait()
}

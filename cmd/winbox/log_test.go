package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestLog checks the lines of the log, which engines read their errors from.
func TestLog(t *testing.T) {
	c := command{t, filepath.Join(t.TempDir(), "state")}
	want := map[string]string{
		"json": `^\{"level":"error","msg":"container does not exist","time":"([^"]*)"\}$`,
		"text": `^time="([^"]*)" level=error msg="container does not exist"$`,
	}
	for format, pattern := range want {
		t.Run(format, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "log")
			for range 2 {
				code, _, stderr := c.run("--log", name, "--log-format", format, "state", "missing")
				if code != 1 || stderr != "winbox: container does not exist\n" {
					t.Errorf("exit code %d, %q", code, stderr)
				}
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(data)), "\n")
			if len(lines) != 2 {
				t.Errorf("%d lines, want 2: %s", len(lines), data)
			}
			match := regexp.MustCompile(pattern).FindStringSubmatch(lines[0])
			if match == nil {
				t.Fatalf("line %q", lines[0])
			}
			if _, err := time.Parse(time.RFC3339, match[1]); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("json on standard error", func(t *testing.T) {
		code, _, stderr := c.run("--log-format", "json", "state", "missing")
		var line struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(stderr), &line); code != 1 || err != nil || line.Level != "error" || line.Msg != "container does not exist" {
			t.Errorf("exit code %d, %q, %v", code, stderr, err)
		}
	})
}

// TestLogFile checks that a JSON log holds nothing but the error of a command
// that fails, as podman wants it, and every warning of one that does not.
func TestLogFile(t *testing.T) {
	for _, fails := range []bool{false, true} {
		file, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		g := &globals{stderr: &stderr, logFile: file, handler: &logHandler{out: file, json: true, hold: true, level: slog.LevelWarn}}
		g.log = slog.New(g.handler)
		g.log.Info("not wanted")
		g.log.Warn(`a "warning"`, "name", "value")
		if fails {
			g.fail(errors.New("the <error>"))
		}
		g.close()
		data, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		var line struct{ Level, Msg, Time, Name string }
		if err := json.Unmarshal(data, &line); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		want, rest := "warning: a \"warning\" value", ""
		if fails {
			want, rest = "error: the <error> ", "winbox: the <error>\n"
		}
		if got := line.Level + ": " + line.Msg + " " + line.Name; got != want {
			t.Errorf("fails %v: the log has %q, want %q", fails, got, want)
		}
		if !strings.HasPrefix(stderr.String(), rest) || strings.Contains(stderr.String(), "a \\\"warning") != fails {
			t.Errorf("fails %v: standard error has %q", fails, &stderr)
		}
	}
}

// TestLogText checks the text form, which is logrus's.
func TestLogText(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(&logHandler{out: &out, level: slog.LevelDebug})
	log.Debug("word")
	log.Info("")
	log.Warn("two words", "path", "/a/b", "text", "a=b")
	log.Error("a \"quote\"\nand a line")
	got := regexp.MustCompile(`time="[^"]*Z"`).ReplaceAllString(out.String(), "T")
	want := "T level=debug msg=word\nT level=info msg=\nT level=warning msg=\"two words\" path=/a/b text=\"a=b\"\n" +
		`T level=error msg="a \"quote\"\nand a line"` + "\n"
	if got != want {
		t.Errorf("lines\n%s\nwant\n%s", got, want)
	}
}

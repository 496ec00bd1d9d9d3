package test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// TestCopies runs 64 copies of a program at once in one container.
func TestCopies(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		const copies = 64
		b := m.newBox(t)
		writeFile(t, b.dir, "copies.exe", []byte(readFile(t, m.build(t, "copies.exe", "copies"))))
		c := b.launch("copies.exe", fmt.Sprint(copies))
		stdin := c.follow()
		if line := c.line(); line != fmt.Sprint(copies, " run") {
			t.Errorf("the program says %q", line)
		}
		n := 0
		for _, pid := range b.processes() {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // fails for one that has ended
			if strings.Contains(string(line), "\x00copy\x00") {
				n++
			}
		}
		if n != copies {
			t.Errorf("%d copies run", n)
		}
		stdin.Close()
		if line := c.line(); line != fmt.Sprint(copies, " ended") {
			t.Errorf("the program says %q", line)
		}
		if c.wait(); c.code() != 0 || c.err.Len() > 0 {
			t.Errorf("exit code %d\n%s", c.code(), c.err.String())
		}
	})
}

// TestWebServer serves to the host from a Go program, and stops it while it answers.
func TestWebServer(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		cmd := exec.Command("go", "build", "-o", filepath.Join(b.dir, "server.exe"), "./webserver")
		cmd.Env = append(os.Environ(), "GOOS=windows", "GOARCH="+m.arch.Arch(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", cmd, err, out)
		}
		page := writeFile(t, b.dir, "a page.html", []byte("<p>hello"))
		c := b.launch("--network", "host", "server.exe")
		c.follow()
		url := "http://127.0.0.1:" + c.line()
		client := &http.Client{Timeout: patience, Transport: &http.Transport{}}
		t.Cleanup(client.CloseIdleConnections)
		ask := func(body io.Reader, path string) (string, error) {
			method := http.MethodGet
			if body != nil {
				method = http.MethodPost
			}
			request, err := http.NewRequest(method, url+path, body)
			if err != nil {
				return "", err
			}
			answer, err := client.Do(request)
			if err != nil {
				return "", err
			}
			defer answer.Body.Close()
			text, err := io.ReadAll(answer.Body)
			return string(text), err
		}
		if text, err := ask(nil, "/files/a%20page.html"); err != nil || text != readFile(t, page) {
			t.Errorf("the page: %q, %v", text, err)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				data := make([]byte, i*10_000)
				random := rand.NewChaCha8([32]byte{byte(i)})
				random.Read(data)
				if text, err := ask(bytes.NewReader(data), "/sum"); err != nil || text != fmt.Sprintf("%x", sha256.Sum256(data)) {
					t.Errorf("the sum of %d bytes: %q, %v", len(data), text, err)
				}
			})
		}
		wg.Wait()
		answer, err := client.Get(url + "/end")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		lines := bufio.NewReader(answer.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != "waiting\n" {
			t.Errorf("the first part: %q, %v", line, err)
		}
		if err := c.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "ended\n" {
			t.Errorf("the second part: %q, %v", line, err)
		}
		if c.wait(); c.code() != 0 || c.err.Len() > 0 {
			t.Errorf("exit code %d\n%s", c.code(), c.err.String())
		}
	})
}

// wine10 is a line of a batch file that does nothing; but not for Wine 8, whose cmd knows no || and has 1 for the exit codes
// of batch files.
const wine10 = "rem Wine 10"

// TestBatchFile runs a batch file with pipes, redirections, exit codes and the rest of what such files are made of.
func TestBatchFile(t *testing.T) {
	onEach(t, func(t *testing.T, m machine) {
		b := m.newBox(t)
		for name, source := range map[string]string{"filter.exe": "filter", "code.exe": "exit"} {
			writeFile(t, b.dir, name, []byte(readFile(t, m.build(t, name, source))))
		}
		writeFile(t, b.dir, "in.txt", []byte("pear\r\napple\r\nfig\r\n"))
		writeFile(t, b.dir, "other.bat", []byte("@echo other %1 %~2\r\n@exit /b 9\r\n"))
		for _, test := range []struct {
			name  string
			lines []string // the first is wine10 where older ones have other ideas
			code  int
			out   string
			err   string
		}{
			{"pipe", []string{`echo hello| filter.exe`}, 0, "hello\n", "7 bytes\n"},
			{"pipes", []string{`type in.txt | filter.exe | filter.exe 2>nul`}, 0, "pear\napple\nfig\n", "18 bytes\n"},
			{"find in a pipe", []string{`type in.txt | find "pp"`, `echo code %errorlevel%`, `type in.txt | find "zz"`, `echo code %errorlevel%`}, 1,
				"apple\ncode 0\ncode 1\n", ""},
			{"output", []string{`echo one>out.txt`, `echo two>>out.txt`, `type out.txt`}, 0, "one\ntwo\n", ""},
			{"input", []string{`filter.exe <in.txt 2>count.txt >copy.txt`, `type copy.txt`, `type count.txt`}, 0, "pear\napple\nfig\n18 bytes\n", ""},
			{"error to output", []string{`filter.exe <in.txt 2>&1 >nul`}, 0, "18 bytes\n", ""},
			{"both to a file", []string{`filter.exe <in.txt >both.txt 2>&1`, `type both.txt`}, 0, "pear\napple\nfig\n18 bytes\n", ""},
			{"output to error", []string{`echo wrong>&2`}, 0, "", "wrong\n"},
			{"block to a file", []string{`(`, `echo one`, `echo two`, `)>block.txt`, `type block.txt`}, 0, "one\ntwo\n", ""},
			{"exit code", []string{`code.exe 7`}, 7, "", ""},
			{"errorlevel", []string{`code.exe 3`, `echo %errorlevel%`, `if errorlevel 3 echo at least 3`, `if not errorlevel 4 echo less than 4`, `exit /b 5`}, 5,
				"3\nat least 3\nless than 4\n", ""},
			{"and, or", []string{wine10, `code.exe 0 && echo and`, `code.exe 1 && echo not`, `code.exe 1 || echo or`, `code.exe 0 || echo not`}, 0, "and\nor\n", ""},
			{"another batch file", []string{wine10, `call other.bat a "b c"`, `echo %errorlevel%`, `exit 11`}, 11, "other a b c\n9\n", ""},
			{"loop over lines", []string{`for /f "tokens=1" %%w in (in.txt) do echo [%%w]`}, 0, "[pear]\n[apple]\n[fig]\n", ""},
			{"loop over numbers", []string{wine10, `for /l %%i in (1,2,5) do code.exe %%i & call echo %%^errorlevel%%`}, 0, "1\n3\n5\n", ""},
			{"subroutine", []string{`call :sub word`, `echo %errorlevel%`, `goto end`, `:sub`, `echo sub %1`, `exit /b 4`, `:end`, `echo end`}, 4, "sub word\n4\nend\n", ""},
			{"what a command prints", []string{`for /f "delims=" %%l in ('type in.txt ^| find "fig"') do set found=%%l`, `echo %found%`}, 0, "fig\n", ""},
		} {
			if test.lines[0] == wine10 && m.kind == "" {
				continue
			}
			t.Run(test.name, func(t *testing.T) {
				c := b.batch("minimal", test.lines...)
				said := strings.ReplaceAll(c.err.String(), "\r\n", "\n")
				// What is echoed before a pipe or a redirection keeps the blank there.
				trim := strings.NewReplacer(" \n", "\n").Replace
				if c.code() != test.code || trim(c.text()) != test.out || trim(said) != test.err {
					t.Errorf("exit code %d, output %q, error %q; want %d, %q, %q", c.code(), c.text(), said, test.code, test.out, test.err)
				}
			})
		}
	})
}

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestUpload(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		dir := t.TempDir()
		var files []File
		for i := range 250 {
			files = append(files, File{Path: fmt.Sprintf("%s/%d", dir, i), Content: fmt.Appendf(nil, "file %d\n", i), Mode: 0o600 + fs.FileMode(i%8)})
		}
		big := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
		files = append(files, File{Path: dir + "/big", Content: big}, File{Path: dir + "/empty", Mode: 0o755})
		client := st.connect(t)
		defer client.Close()
		begin := time.Now()
		if err := client.Upload(t.Context(), files); err != nil {
			t.Fatal(err)
		}
		// Three to open SFTP, and four for each 64 files.
		if n := trips(begin); n > 3+4*4 {
			t.Errorf("%v round trips for %d files", n, len(files))
		}
		for _, f := range files {
			got, err := os.ReadFile(f.Path)
			info, serr := os.Stat(f.Path)
			if err != nil || serr != nil || !bytes.Equal(got, f.Content) {
				t.Errorf("%s: %d bytes, %v", f.Path, len(got), err)
			} else if want := max(f.Mode, 0o600); info.Mode() != want {
				t.Errorf("%s has mode %s, want %s", f.Path, info.Mode(), want)
			}
		}
		begin = time.Now()
		if err := client.Upload(t.Context(), []File{{Path: dir + "/more", Content: big}}); err != nil {
			t.Error(err)
		}
		if n := trips(begin); n > 4 {
			t.Errorf("%v round trips for one large file over an open session", n)
		}
	})
}

func TestUploadFailures(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		dir := t.TempDir()
		write(t, dir+"/there", "keep me")
		client := st.connect(t)
		defer client.Close()
		err := client.Upload(t.Context(), []File{{Path: dir + "/there", Content: []byte("x")}})
		wantError(t, err, "create "+dir+"/there", "exist")
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%v is not ErrExist", err)
		}
		if got, _ := os.ReadFile(dir + "/there"); string(got) != "keep me" {
			t.Errorf("a file that existed is now %q", got)
		}
		err = client.Upload(t.Context(), []File{{Path: dir + "/no/folder"}})
		wantError(t, err, "create "+dir+"/no/folder", "not exist")
		if err := os.Symlink(dir+"/target", dir+"/link"); err != nil {
			t.Fatal(err)
		}
		wantError(t, client.Upload(t.Context(), []File{{Path: dir + "/link"}}), "create "+dir+"/link")
		if _, err := os.Stat(dir + "/target"); err == nil {
			t.Error("a symbolic link was followed")
		}
		if err := client.Upload(t.Context(), nil); err != nil {
			t.Errorf("no files: %v", err)
		}
	})
}

func TestUploadWithoutSFTP(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		st.noSFTP = true
		client := st.connect(t)
		defer client.Close()
		wantError(t, client.Upload(t.Context(), []File{{Path: "/x"}}), "the server has no SFTP", "sshd_config")
	})
}

// An upload that is given up, before and after SFTP is open, and one whose
// network goes away; the next upload opens SFTP anew.
func TestUploadGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		dir := t.TempDir()
		client := st.connect(t)
		defer client.Close()
		for i, after := range []time.Duration{50 * time.Millisecond, 450 * time.Millisecond} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), after, errors.New("Ctrl-C"))
			begin := time.Now()
			err := client.Upload(ctx, []File{{Path: filepath.Join(dir, fmt.Sprint(i))}})
			wantError(t, err, "gave up after "+after.String(), "Ctrl-C")
			if d := time.Since(begin); d != after {
				t.Errorf("after %s, want %s", d, after)
			}
			cancel()
			if err := client.Upload(t.Context(), []File{{Path: filepath.Join(dir, fmt.Sprint("again", i))}}); err != nil {
				t.Errorf("the next upload: %v", err)
			}
			client.Close()
			client = st.connect(t)
		}
		st.unplug()
		begin := time.Now()
		err := client.Upload(t.Context(), []File{{Path: dir + "/x"}})
		wantError(t, err, "connection lost")
		if d := time.Since(begin); d > 16*time.Second {
			t.Errorf("found after %s", d)
		}
		client.Close()
	})
}

// An SFTP session that has ended fails one upload, and the next opens another.
func TestSFTPEnds(t *testing.T) {
	bubble(t, func(t *testing.T, st *site) {
		dir := t.TempDir()
		client := st.connect(t)
		defer client.Close()
		for i := range 3 {
			err := client.Upload(t.Context(), []File{{Path: fmt.Sprintf("%s/%d", dir, i)}})
			if ended := i == 1; (err != nil) != ended {
				t.Errorf("upload %d: %v", i, err)
			}
			if i == 0 {
				s := <-client.files
				s.close()
				client.files <- s
			}
		}
	})
}

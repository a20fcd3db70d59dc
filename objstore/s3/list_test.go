package s3

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A bucket that is shared with somebody whose keys are none of ours: pages of those alone are answers, too.
func TestPagesOfForeignKeys(t *testing.T) {
	const (
		pages   = 6
		timeout = time.Second
	)
	type content struct {
		Key  string
		Size int64
	}
	type result struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		Name                  string
		IsTruncated           bool
		NextContinuationToken string
		Contents              []content
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(timeout * 2 / pages) // in all longer than one of them may take
		page, _ := strconv.Atoi(r.URL.Query().Get("continuation-token"))
		answer := result{Name: "b", IsTruncated: page < pages-1, NextContinuationToken: strconv.Itoa(page + 1)}
		key := fmt.Sprintf("Photo (%d).jpg", page)
		if page == pages-1 {
			key = "web/ours"
		}
		answer.Contents = []content{{key, 1}}
		w.Header().Set("Content-Type", "application/xml")
		if err := xml.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	b, err := New(Config{Endpoint: strings.TrimPrefix(server.URL, "http://"), Bucket: "bucket", Insecure: true, AccessKey: "a", SecretKey: "secretsecret", AttemptTimeout: timeout, Backoff: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, info.Key)
	}
	if len(keys) != 1 || keys[0] != "web/ours" {
		t.Errorf("have %q", keys)
	}
}

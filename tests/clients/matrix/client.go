// The steps of ../README.md with Go's net/http, HTTP/2 where the proxy offers it.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

var base, key = os.Args[1], os.Getenv("TOOL_API_KEY")

func read(method, path, contentType string, body io.Reader, adorn func(*http.Request)) []byte {
	request, err := http.NewRequest(method, base+path, body)
	check(err)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if adorn != nil {
		adorn(request)
	}
	response, err := http.DefaultClient.Do(request)
	check(err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(err)
	if response.StatusCode != 200 {
		check(fmt.Errorf("%s: %s %s", path, response.Status, data))
	}
	return data
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	text := "use " + key + " here"
	// Go escapes the brackets of a placeholder in JSON
	fields, err := json.Marshal(map[string]string{"key": key, "text": text})
	check(err)
	form := url.Values{"key": {key}, "text": {text}}.Encode()
	sum := sha256.Sum256(read("GET", "/blob?n=3000000", "", nil, nil))
	upload := bytes.Repeat([]byte("0123456789"), 300_000)
	out, err := json.Marshal(map[string]any{
		"header":   json.RawMessage(read("GET", "/header", "", nil, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+key) })),
		"basic":    json.RawMessage(read("GET", "/basic", "", nil, func(r *http.Request) { r.SetBasicAuth("user", key) })),
		"json":     json.RawMessage(read("POST", "/json", "application/json", bytes.NewReader(fields), nil)),
		"form":     json.RawMessage(read("POST", "/form", "application/x-www-form-urlencoded", strings.NewReader(form), nil)),
		"stream":   json.RawMessage(read("GET", "/chunked", "", nil, nil)),
		"download": hex.EncodeToString(sum[:]),
		"upload":   json.RawMessage(read("PUT", "/upload", "application/octet-stream", bytes.NewReader(upload), nil)),
	})
	check(err)
	fmt.Println(string(out))
}

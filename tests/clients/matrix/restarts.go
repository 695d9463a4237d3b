// 100 at a time, 3,000 requests in all, with Go's net/http: $2 says which version, $3 the proxy, if any. A line each 300
// answers, for whoever restarts the origin meanwhile; at last how many got what was asked for, and how many a 502.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	transport := &http.Transport{ForceAttemptHTTP2: os.Args[2] == "h2", MaxIdleConnsPerHost: 100}
	if os.Args[2] != "h2" {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	if len(os.Args) > 3 {
		proxy, err := url.Parse(os.Args[3])
		if err != nil {
			panic(err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	ask := func() int {
		request, _ := http.NewRequest("GET", os.Args[1], nil)
		request.Header.Set("Authorization", "Bearer <<tool_key>>")
		response, err := client.Do(request)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 0
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != 200 {
			fmt.Fprintln(os.Stderr, response.Status, err, string(body))
		}
		if err != nil {
			return 0
		}
		return response.StatusCode
	}
	var group sync.WaitGroup
	var asked, good, bad int64
	for n := 0; n < 100; n++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for m := 0; m < 30; m++ {
				switch ask() {
				case 200:
					atomic.AddInt64(&good, 1)
				case 502:
					atomic.AddInt64(&bad, 1)
				}
				if atomic.AddInt64(&asked, 1)%300 == 0 {
					fmt.Println("go on")
				}
			}
		}()
	}
	group.Wait()
	fmt.Println(good, bad)
}

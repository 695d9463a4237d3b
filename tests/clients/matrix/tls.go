// As ../tls_client.py.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

func main() {
	pem, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	connection, err := tls.Dial("tcp", "127.0.0.1:"+os.Args[1], &tls.Config{RootCAs: roots, ServerName: os.Args[2]})
	var refused x509.CertificateInvalidError
	if errors.As(err, &refused) {
		fmt.Println(refused)
		os.Exit(3)
	}
	if err != nil {
		panic(err)
	}
	connection.Close()
}

// Echo says back what it hears on port 7, by TCP and UDP (RFC 862).
package main

import (
	"fmt"
	"io"
	"log"
	"net"
)

func main() {
	datagrams, err := net.ListenPacket("udp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	connections, err := net.Listen("tcp", ":7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		data := make([]byte, 65536)
		for {
			length, from, err := datagrams.ReadFrom(data)
			if err != nil {
				log.Fatal(err)
			}
			datagrams.WriteTo(data[:length], from)
		}
	}()
	fmt.Println("ready")
	for {
		connection, err := connections.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			io.Copy(connection, connection)
		}()
	}
}

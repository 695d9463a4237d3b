# The steps of ../README.md with Ruby's net/http.
require "digest"
require "json"
require "net/http"
require "uri"

BASE, KEY = ARGV[0], ENV.fetch("TOOL_API_KEY")
TEXT = "use #{KEY} here"

def read(request)
  uri = URI(BASE)
  response = Net::HTTP.start(uri.host, uri.port, use_ssl: true, read_timeout: 60) { |http| http.request(request) }
  raise "#{request.path}: #{response.code} #{response.body}" unless response.code == "200"
  response.body
end

def body(kind, path, headers = {})
  request = kind.new(path, headers)
  yield request if block_given?
  JSON.parse(read(request))
end

fields = { "key" => KEY, "text" => TEXT }
puts JSON.generate(
  header: body(Net::HTTP::Get, "/header", "Authorization" => "Bearer #{KEY}"),
  basic: body(Net::HTTP::Get, "/basic") { |r| r.basic_auth("user", KEY) },
  json: body(Net::HTTP::Post, "/json", "Content-Type" => "application/json") { |r| r.body = JSON.generate(fields) },
  form: body(Net::HTTP::Post, "/form") { |r| r.set_form_data(fields) },
  stream: body(Net::HTTP::Get, "/chunked"),
  download: Digest::SHA256.hexdigest(read(Net::HTTP::Get.new("/blob?n=3000000"))),
  upload: body(Net::HTTP::Put, "/upload", "Content-Type" => "application/octet-stream") { |r| r.body = "0123456789" * 300_000 },
)

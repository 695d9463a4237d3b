# The steps of ../README.md with Perl's LWP.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use HTTP::Request::Common qw(GET POST PUT);
use JSON::PP;
use LWP::UserAgent;

my ($base, $key) = ($ARGV[0], $ENV{TOOL_API_KEY});
my %fields = (key => $key, text => "use $key here");
my $agent = LWP::UserAgent->new(env_proxy => 1, timeout => 60);
my $json = JSON::PP->new->utf8;

sub text {
    my $response = $agent->request($_[0]);
    die $_[0]->uri . ": " . $response->status_line . " " . $response->content unless $response->is_success;
    return $response->content;
}

sub body { return $json->decode(text($_[0])) }

my $basic = GET "$base/basic";
$basic->authorization_basic("user", $key);
print $json->encode({
    header => body(GET "$base/header", Authorization => "Bearer $key"),
    basic => body($basic),
    json => body(POST "$base/json", Content_Type => "application/json", Content => $json->encode(\%fields)),
    form => body(POST "$base/form", \%fields),
    stream => body(GET "$base/chunked"),
    download => sha256_hex(text(GET "$base/blob?n=3000000")),
    upload => body(PUT "$base/upload", Content_Type => "application/octet-stream", Content => "0123456789" x 300_000),
}), "\n";

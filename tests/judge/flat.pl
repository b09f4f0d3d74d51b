# The values of the flat JSON object on standard input, as words for a shell: flat.pl KEY... prints `set -- 'VALUE'...`.
# jq takes ten times as long to start, and the driver is called some thousand times.
use strict;
my @keys = @ARGV;
my $text = do { local $/; <STDIN> };
my ($string, %value, %short) = (qr/"((?:[^"\\\x00-\x1f]++|\\["\\\/bfnrt]|\\u[0-9a-fA-F]{4})*+)"/);
@short{qw(b f n r t)} = ("\b", "\f", "\n", "\r", "\t");

sub utf8 {
    my $bytes = chr shift;
    utf8::encode($bytes);
    return $bytes;
}

sub plain {
    my $said = shift;
    $said =~ s{\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u(....)|(.))}{
        defined $1 ? utf8(0x10000 + ((hex($1) & 0x3ff) << 10) + (hex($2) & 0x3ff))
            : defined $3 ? utf8(hex $3) : $short{$4} // $4
    }ge;
    return $said;
}

$text =~ /\G\s*\{\s*/gc or exit 1;
while ($text =~ /\G$string\s*:\s*$string\s*/gc) {
    $value{plain($1)} = plain($2);
    last unless $text =~ /\G,\s*/gc;
}
$text =~ /\G\}\s*\z/gc or exit 1;
print "set --", map { my $word = $value{$_} // ""; $word =~ s/'/'\\''/g; " '$word'" } @keys;

"""Selectors: texts that both read, that neither reads, and that only Prometheus reads."""

BOTH = [
    "x", "x:y_total", "_x", "x{}", "x{ }", 'x {a="b"}', 'x\n{\ta="b"\r\n}', 'x{a="b",}',
    'x{ a = "b" , c!="d",e=~"f|g",h!~"i.*"}',
    'x{a="b}"}', 'x{a="b,c"}', r'x{a="\""}', r'x{a="\\"}', r'x{a="\n\t\a"}', r'x{a=~"\\d+"}', 'x{a="é"}', 'x{a=~""}',
    'x{by="a"}', "sum", 'x{a="b",a="c"}', 'x{a=~"(?i)b"}', 'x{a=~"(?P<n>b)?"}', 'x{a=~"[^/]{1,3}"}',
]  # fmt: skip
NEITHER = [
    "", "9x", "x}", "x{", 'x{a="b"', 'x a="b"', "x{,}", 'x{a="b",,}', 'x{a="b" c="d"}', 'x{a="b}', "x{a=b}",
    'x{a=="b"}',
    'x{a="b"}}', 'x{{a="b"}', 'x{a="b\n"}', 'x{9a="b"}', 'x{a:b="c"}', 'x{a-b="c"}', 'x{"a"="b"}', r'x{a="\d"}',
    r'x{a=~"\d+"}', r'x{a="\'"}', r'x{a="\0"}', 'x{a=~"["}', 'x{a=~"*"}', 'x{a=~"(b"}', 'x{a=~"b**"}',
    'x{__name__="y"}',
    "x\u00a0", 'x{a\u00a0="b"}', 'x{é="b"}', 'x{a٣="b"}',
]  # fmt: skip
ONLY_THERE = [
    '{a="b"}', "x[5m]", "x offset 5m", "sum(x)", "x + y", "x-y", 'x{a="b"} # c', "x{a='b'}", "x{a=`b`}", r'x{a="\x41"}',
    r'x{a="\101"}', r'x{a="\u0041"}', r'x{a=~"\\pL"}',
]  # fmt: skip

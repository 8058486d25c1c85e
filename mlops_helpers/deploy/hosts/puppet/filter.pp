# The same state as that of the role, in Puppet's words.
class filter (
  String $root,
  Integer $owner,
  Integer $group,
  String $servicectl,
  String $version,
  String $release,
  String $sha256,
  String $artifact,
  String $durability,
  Integer $concurrency,
  Sensitive[String] $token,
) {
  $configuration = @("TOML")
    # Managed: what is changed here by hand, the next run takes back.
    version = "${version}"
    release = "${release}"
    sha256 = "${sha256}"
    durability = "${durability}"
    concurrency = ${concurrency}
    | TOML
  $secret = "${token.unwrap}\n"
  $fingerprint = sha256("${configuration}${secret}")

  file { 'artifact':
    ensure  => directory,
    path    => "${root}/releases/${release}",
    source  => $artifact,
    recurse => true,
  }

  file { 'configuration':
    path    => "${root}/etc/filter.toml",
    content => $configuration,
    owner   => $owner,
    group   => $group,
    mode    => '0640',
  }

  file { 'secret':
    path    => "${root}/etc/token",
    content => Sensitive($secret),
    owner   => $owner,
    group   => $group,
    mode    => '0600',
  }

  # "start" also replaces a process that remembers another configuration.
  service { 'process':
    ensure   => running,
    provider => base,
    status   => "${servicectl} status ${root} ${fingerprint}",
    start    => "${servicectl} apply ${root}",
    stop     => "${servicectl} stop ${root}",
    require  => File['artifact', 'configuration', 'secret'],
  }
}

include filter

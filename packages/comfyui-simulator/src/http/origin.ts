import { BlockList, isIP } from 'node:net'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8)
loopback.addAddress('::1', 'ipv6')

/** Whether ComfyUI refuses a request: its host is this machine and its origin is another page. */
export function isForeignOrigin(host: string | undefined, origin: string | undefined): boolean {
  if (!host || !origin || !URL.canParse(origin)) return false
  const from = netloc(origin.replace(/^[a-z]+:\/\//i, '').split('/')[0] as string)
  const to = netloc(host)
  if (!isLoopback(to.name) || from.name === '') return false
  return from.name !== to.name || (from.port !== '' && to.port !== '' && from.port !== to.port)
}

function netloc(text: string): { name: string; port: string } {
  const match = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(text.toLowerCase())
  return { name: match?.[1] ?? text, port: match?.[2] ?? '' }
}

function isLoopback(name: string): boolean {
  if (name === 'localhost') return true
  const address = name.replace(/^\[|\]$/g, '')
  const family = isIP(address)
  return family !== 0 && loopback.check(address, family === 4 ? 'ipv4' : 'ipv6')
}

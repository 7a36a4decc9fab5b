import { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { WireRequest } from '../request.ts'
import { smallPrompt } from '../stage.ts'
import { type HostileCase, toGenerate } from './hostile.ts'

/** Where a caller may name a URL: the body that does. */
type Place = { readonly name: string; readonly field: string; readonly body: (url: string) => object }

const loading = (image: string) => ({ ...smallPrompt, '1': { class_type: 'LoadImage', inputs: { image } } })

const allPlaces: readonly Place[] = [
  { name: 'in the workflow', field: 'prompt', body: url => ({ prompt: loading(url) }) },
  {
    name: 'among the inputs',
    field: 'inputs',
    body: url => ({ prompt: loading('a.png'), inputs: { 'a.png': { url } } })
  },
  { name: 'as a webhook', field: 'webhook', body: url => ({ prompt: smallPrompt, webhook: { url } }) }
]

/** Those that requests of this version have. */
const places = allPlaces.filter(({ field }) => field in GenerateRequest.properties)

/** Where the traps listen: `victim` must never be asked, `helper` is allowed and leads astray. */
export type TrapPorts = { readonly victimPort: number; readonly helperPort: number }

const hosts = [
  ...['127.0.0.1', '127.1', '127.0.1', '2130706433', '0x7f.1', '0x7f000001', '017700000001', '0177.0.0.1', '①②⑦.0.0.1'],
  ...['127.0.0.1.', '127。0。0。1', '0.0.0.0', '0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'],
  ...[
    '[::127.0.0.1]',
    '[64:ff9b::7f00:1]',
    '[2002:7f00:1::]',
    '[fe80::1]',
    '[fc00::1]',
    '[fd00:ec2::254]',
    '[ff02::1]'
  ],
  ...['169.254.169.254', '2852039166', '168.63.129.16', '100.100.100.200', '10.0.0.1', '172.16.0.1', '192.168.0.1'],
  ...['100.64.0.1', '192.0.2.1', '198.18.0.1', '224.0.0.1', '240.0.0.1', '255.255.255.255']
]

/** URLs whose text tells that they may not be fetched: address, port, user. */
const blocked = ({ victimPort }: TrapPorts): readonly string[] => [
  ...hosts.map(host => `http://${host}:${victimPort}/secret`),
  ...['22', '25', '3306', '6379', '8188', '0', '65535'].map(port => `http://pictures.example:${port}/`),
  `http://user:pass@pictures.example:${victimPort}/`,
  `http://pictures.example@127.0.0.1:${victimPort}/`,
  `http://pictures.example:${victimPort}@127.0.0.1/`,
  `http://127.0.0.1:${victimPort}\\@pictures.example/`,
  `http://127.0.0.1:${victimPort}#@pictures.example/`,
  `HTTP://127.0.0.1:${victimPort}/`,
  `https://127.0.0.1:${victimPort}/`,
  `http:///127.0.0.1:${victimPort}/`,
  'http://[::1',
  'http://',
  'http://%/',
  'http://pictures.example:99999/'
]

const otherSchemes: readonly string[] = [
  ...['file:///etc/passwd', 'ftp://127.0.0.1/', 'gopher://127.0.0.1:6379/_INFO', 'dict://127.0.0.1:11211/stats'],
  ...['ws://127.0.0.1/', 's3://bucket/x.png']
]

/** What is no address at all, and so an input file that nobody has. */
const noUrls: readonly string[] = [
  ...['data:image/png;base64,AAAA', 'javascript:alert(1)', '//127.0.0.1/', 'jar:http://127.0.0.1!/']
]

/** URLs that are refused at once, wherever they stand. */
export const blockedUrls = (ports: TrapPorts): HostileCase[] => [
  ...places.flatMap(({ name, body }) =>
    [...blocked(ports), ...otherSchemes].map(url => ({
      what: `${url} ${name}`,
      request: toGenerate(JSON.stringify(body(url))),
      status: 422,
      code: 'input-url-blocked'
    }))
  ),
  ...noUrls.map(url => ({
    what: url,
    request: toGenerate(JSON.stringify({ prompt: loading(url) })),
    status: 422,
    code: 'no-capable-node'
  }))
]

/** URLs that show only when they are fetched where they lead. The names are those of `false-names.ts`. */
export const astrayUrls = ({ victimPort, helperPort }: TrapPorts): readonly string[] => [
  ...['private', 'mixed', 'mapped', 'localhost'].map(name => `http://${name}.rebind.test:${victimPort}/secret`),
  `http://turning.rebind.test:${helperPort}/turn`,
  ...['301', '302', '307', '308', 'chain', 'octal', 'userinfo', 'file', 'port'].map(
    path => `http://127.0.0.2:${helperPort}/${path}`
  )
]

/** Asks for a task that loads from a URL, and waits for its end. */
export const loadingFrom = (url: string): WireRequest =>
  toGenerate(JSON.stringify({ prompt: loading(url) }), { prefer: 'wait=20' })

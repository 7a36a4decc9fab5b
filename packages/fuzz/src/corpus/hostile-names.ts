import { smallPrompt } from '../stage.ts'
import { type HostileCase, toGenerate, toGet } from './hostile.ts'

/** Names that lead out of a folder, in the spellings that have worked somewhere. */
const names = [
  ...['../../etc/passwd', '..\\..\\windows\\win.ini', '/etc/passwd', '\\\\host\\share\\x', 'C:\\x.png', 'file:x.png'],
  ...['....//....//x', 'a/../../b', './x.png', '~/x.png', 'x.png/', 'x.png [output]', 'x.png [temp]', '../x [input]'],
  ...[
    'x\u0000.png',
    'x\r\nX-Injected: 1',
    '.htaccess',
    'CON',
    'x.png ',
    'X.png.',
    '%2e%2e%2fx',
    '..%c0%afx',
    '\u2025/x'
  ],
  ...['$(id)', '`id`', '| id', '{{7*7}}', '%year%/x', '💥'.repeat(20), '美'.repeat(90)]
]

/** A name as one segment of an address, every character escaped that can be. */
const segment = (name: string): string => encodeURIComponent(name).replaceAll('.', '%2e')

const inAddresses = (task: string): HostileCase[] =>
  names.flatMap(name =>
    [
      ['GET', '/api/v1/tasks/', ''],
      ['GET', '/api/v1/tasks/', '/logs'],
      ['GET', '/api/v1/tasks/', '/events'],
      ['GET', '/api/v1/tenants/', ''],
      ['DELETE', '/api/v1/quarantine/', ''],
      ['GET', `/api/v1/tasks/${task}/outputs/`, '']
    ].map(([method, before, after]) => ({
      what: `${before}${JSON.stringify(name)}${after}`,
      request: { ...toGet(`${before}${segment(name)}${after}`), method: method! },
      status: 400,
      code: 'validation-failed'
    }))
  )

/** As a program writes them that resolves nothing: the dots stay. */
const rawAddresses: readonly HostileCase[] = [
  '/api/v1/tasks/../../../etc/passwd',
  '/api/v1/tasks/..%2f..%2f..%2fetc%2fpasswd/x',
  '//etc/passwd',
  '/docs/static/../../../../package.json',
  '/docs/static/..%2f..%2f..%2f..%2fpackage.json',
  '/docs/static/%2e%2e/%2e%2e/package.json',
  '/docs/static/....//package.json',
  '/docs/static/package.json%00.png',
  '/docs/theme/..%2f..%2fpackage.json',
  '/.env',
  '/openapi.json/../livez',
  '/API/V1/TASKS',
  '/api/v1//tasks',
  '/metrics',
  '/prompt',
  '/view?filename=x.png'
].map(target => ({ what: target, request: toGet(target), status: 404, code: 'not-found' }))

const missing = (what: string, prompt: object): HostileCase => ({
  ...{ what, request: toGenerate(JSON.stringify({ prompt })), status: 422, code: 'no-capable-node' }
})

/** ComfyUI reads these from below its folders, or finds nothing there. */
const staysInside = /^(\.\.\.\.|\.|~|x\.png|%year%|\u2025)\/|^x\.png \[/

/** Files and models that a node should have: none has one of such a name. */
const inWorkflows = (): HostileCase[] => [
  ...names
    .filter(name => !staysInside.test(name))
    .map(name =>
      missing(`the input file ${JSON.stringify(name)}`, {
        ...smallPrompt,
        '1': { class_type: 'LoadImage', inputs: { image: name } }
      })
    ),
  ...['x.png [output]', 'x.png [temp]', '../x.png [output]'].map(image => ({
    ...missing(`the input file ${image}`, { ...smallPrompt, '1': { class_type: 'LoadImage', inputs: { image } } }),
    code: 'workflow-invalid'
  })),
  ...names
    .filter(name => !/ \[(output|temp)\]$/.test(name))
    .map(name =>
      missing(`the model ${JSON.stringify(name)}`, {
        ...smallPrompt,
        '2': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: name } },
        '3': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['2', 2] } },
        '4': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
        '8': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'x' } }
      })
    )
]

/** Names where a service expects an id, a file or a model. `task` is one that is there. */
export const hostileNames = (task: string): HostileCase[] => [...inAddresses(task), ...rawAddresses, ...inWorkflows()]

/** Workflows that would have their outputs written elsewhere; their tasks may run, and their files stay where they belong. */
export const hostilePrefixes: readonly object[] = names.map(name => ({
  prompt: { ...smallPrompt, '9': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: name } } }
}))

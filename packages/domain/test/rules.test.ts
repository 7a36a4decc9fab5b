import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { problemTable } from '@comfy-balancer/contract/problem'
import { taskStates } from '@comfy-balancer/contract/task'
import t from 'tap'
import { type Admission, admit, type KnownNode } from '../src/admission.ts'
import { createCapability, foldPath, hasLabels, isModelFile, lacking, modelsOf } from '../src/capability.ts'
import { etaSeconds, type NodeAhead, needsAhead, type Sized, type Standing } from '../src/eta.ts'
import { fingerprintText } from '../src/fingerprint.ts'
import { groupProgress } from '../src/group.ts'
import { type Known, learn, noDurations, noPace, predict, ratesOf } from '../src/prediction.ts'
import { reachable } from '../src/reachable.ts'
import { afterOutOfMemory, backoffMs, type RetryClass, retryRules } from '../src/retry.ts'
import { seedInputsOf } from '../src/seeds.ts'
import { isTerminal, type LedgerState, shownState, transitions } from '../src/task-state.ts'
import { workOf } from '../src/work.ts'
import type { Flaw } from '../src/workflow.ts'
import { aCapability, aCatalog, aKnownNode, aLearned, aNeed, aWorkflow, holding, type Prompt } from './builders.ts'

const checkpoints = ['sd15.safetensors', 'sdxl\\base.safetensors']

/** The classes that most workflows here use. */
const classes = {
  CheckpointLoaderSimple: { required: ['ckpt_name'], options: { ckpt_name: checkpoints } },
  KSampler: {
    required: ['model', 'steps', 'sampler_name'],
    options: { sampler_name: ['euler', 'ddim'], bits: ['8', '16'], tiled: ['true', 'false'] }
  },
  LoadImage: { required: ['image'], options: { image: ['cat.png'] }, uploads: ['image'] },
  SaveImage: { output: true as const, required: ['images'] }
}

const aNode = (id = 'gpu-a', more: Parameters<typeof aKnownNode>[1] = {}, labels: Record<string, string> = {}) =>
  aKnownNode(id, { ...classes, ...more }, labels)

/** A checkpoint, a sampler and an output, with some inputs replaced. */
const aPrompt = (checkpoint: object = {}, sampler: object = {}, more: Prompt = {}): Prompt => ({
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd15.safetensors', ...checkpoint } },
  '2': { class_type: 'KSampler', inputs: { model: ['1', 0], steps: 20, sampler_name: 'euler', ...sampler } },
  '3': { class_type: 'SaveImage', inputs: { images: ['2', 0] } },
  ...more
})

const admitted = (prompt: Prompt, nodes: readonly KnownNode[] = [aNode()], labels = {}): Admission => {
  const verdict = admit(aWorkflow(prompt), labels, nodes)
  if (verdict.kind !== 'admitted') throw new Error(JSON.stringify(verdict))
  return verdict.admission
}

t.test('a workflow that could never start is refused with where, what and who has what', async t => {
  const bare = aKnownNode('bare', { SaveImage: classes.SaveImage })
  const cases: {
    name: string
    prompt: Prompt
    nodes?: KnownNode[]
    labels?: Record<string, string>
    kind: 'invalid' | 'incapable'
    flaws: Flaw[]
  }[] = [
    {
      name: 'a class that the only node lacks',
      prompt: aPrompt({}, {}, { '7': { class_type: 'Upscale' } }),
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/7/class_type',
          code: 'unknown-class',
          detail: 'no node has the class Upscale (asked: gpu-a)'
        }
      ]
    },
    {
      name: 'a class that every node lacks, where all of them are named',
      prompt: aPrompt({}, {}, { '7': { class_type: 'Upscale' } }),
      nodes: [aNode('gpu-a'), aNode('gpu-b')],
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/7/class_type',
          code: 'unknown-class',
          detail: 'no node has the class Upscale (asked: gpu-a, gpu-b)'
        }
      ]
    },
    {
      name: 'a class that nobody has is told before everything else, once for each graph node',
      prompt: { '7': { class_type: 'Upscale' }, '8': { class_type: 'Upscale' } },
      kind: 'incapable',
      flaws: ['7', '8'].map(id => ({
        pointer: `/prompt/${id}/class_type`,
        code: 'unknown-class',
        detail: 'no node has the class Upscale (asked: gpu-a)'
      }))
    },
    {
      name: 'no output graph node',
      prompt: { '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd15.safetensors' } } },
      kind: 'invalid',
      flaws: [
        {
          pointer: '/prompt',
          code: 'no-output',
          detail: 'the workflow has no output graph node (SaveImage, PreviewImage, …), so it would produce nothing'
        }
      ]
    },
    {
      name: 'an empty workflow',
      prompt: {},
      kind: 'invalid',
      flaws: [
        {
          pointer: '/prompt',
          code: 'no-output',
          detail: 'the workflow has no output graph node (SaveImage, PreviewImage, …), so it would produce nothing'
        }
      ]
    },
    {
      name: 'every required input that is missing',
      prompt: {
        '2': { class_type: 'KSampler', inputs: { steps: 4 } },
        '3': { class_type: 'SaveImage', inputs: { images: ['2', 0] } }
      },
      kind: 'invalid',
      flaws: [
        { pointer: '/prompt/2/inputs', code: 'missing-input', detail: 'KSampler needs the input model' },
        { pointer: '/prompt/2/inputs', code: 'missing-input', detail: 'KSampler needs the input sampler_name' }
      ]
    },
    {
      name: 'a model that no node has',
      prompt: aPrompt({ ckpt_name: 'flux.safetensors' }),
      nodes: [aNode('gpu-a'), aNode('gpu-b', { CheckpointLoaderSimple: { options: { ckpt_name: [] } } }), bare],
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/1/inputs/ckpt_name',
          code: 'unknown-value',
          detail:
            'no node has flux.safetensors for CheckpointLoaderSimple.ckpt_name; gpu-a has sd15.safetensors, sdxl\\base.safetensors; gpu-b has none'
        }
      ]
    },
    {
      name: 'a model that no node has, beside a long list that is cut short',
      prompt: aPrompt({}, { sampler_name: 'warp.pt' }),
      nodes: [aNode('gpu-a', { KSampler: { options: { sampler_name: [...'abcdefghijk'] } } })],
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/2/inputs/sampler_name',
          code: 'unknown-value',
          detail: 'no node has warp.pt for KSampler.sampler_name; gpu-a has a, b, c, d, e, f, g, h and 3 more'
        }
      ]
    },
    ...[
      '../dog.png',
      'a/../../dog.png [input]',
      '..\\dog.png',
      '/etc/dog.png',
      'C:\\dog.png',
      'jar:a/dog.png',
      'a/\0',
      'sub/dog [output]',
      'sub/dog [temp]'
    ].map(image => ({
      name: `the upload ${image}, which leads out of the input folder`,
      prompt: aPrompt({}, { mask: ['4', 0] }, { '4': { class_type: 'LoadImage', inputs: { image } } }),
      kind: 'incapable' as const,
      flaws: [
        {
          pointer: '/prompt/4/inputs/image',
          code: 'unknown-value',
          detail: `no node has ${image} for LoadImage.image; gpu-a has cat.png`
        }
      ]
    })),
    ...['dog.png [output]', 'sub/dog.png [temp]', 'dog.png[output]'].map(image => ({
      name: `the file ${image}, which another task made, in an upload and in a text`,
      prompt: aPrompt({}, { mask: ['4', 0], path: image }, { '4': { class_type: 'LoadImage', inputs: { image } } }),
      kind: 'invalid' as const,
      flaws: ['2/inputs/path', '4/inputs/image'].map(place => ({
        pointer: `/prompt/${place}`,
        code: 'not-an-input',
        detail: `${image} is what a task left on some node: bring the file along in inputs`
      }))
    })),
    {
      name: 'an uploaded file that the top of the input folder lacks',
      prompt: aPrompt({}, { mask: ['4', 0] }, { '4': { class_type: 'LoadImage', inputs: { image: 'dog.png' } } }),
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/4/inputs/image',
          code: 'unknown-value',
          detail: 'no node has dog.png for LoadImage.image; gpu-a has cat.png'
        }
      ]
    },
    {
      name: 'labels that no node has',
      prompt: aPrompt(),
      nodes: [aNode('gpu-a', {}, { gpu: 'L4' }), aNode('gpu-b', {}, { zone: 'x' })],
      labels: { zone: 'x', gpu: 'L4' },
      kind: 'incapable',
      flaws: [
        { pointer: '/nodeSelector', code: 'unknown-label', detail: 'no node has the labels {"gpu":"L4","zone":"x"}' }
      ]
    },
    {
      name: 'parts that some node has each, but none has all of',
      prompt: aPrompt({}, {}, { '7': { class_type: 'Upscale' } }),
      nodes: [aNode('gpu-a', { CheckpointLoaderSimple: { options: { ckpt_name: [] } }, Upscale: {} }), aNode('gpu-b')],
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt',
          code: 'no-single-node',
          detail:
            'no single node has everything: gpu-a lacks CheckpointLoaderSimple.ckpt_name = sd15.safetensors; gpu-b lacks Upscale'
        }
      ]
    },
    {
      name: 'labels whose nodes lack what others have',
      prompt: aPrompt(),
      nodes: [aNode('gpu-a'), aKnownNode('gpu-b', { SaveImage: classes.SaveImage }, { zone: 'x' })],
      labels: { zone: 'x' },
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt',
          code: 'no-single-node',
          detail: 'no single node has everything: gpu-b lacks CheckpointLoaderSimple, KSampler'
        }
      ]
    },
    {
      name: 'a graph node and an input with characters that a JSON Pointer escapes',
      prompt: { 'a/b~c': { class_type: 'Odd', inputs: { 'x/y': 'no.pt' } } },
      nodes: [aKnownNode('gpu-a', { Odd: { output: true, options: { 'x/y': ['yes.pt'] } } })],
      kind: 'incapable',
      flaws: [
        {
          pointer: '/prompt/a~1b~0c/inputs/x~1y',
          code: 'unknown-value',
          detail: 'no node has no.pt for Odd.x/y; gpu-a has yes.pt'
        }
      ]
    }
  ]
  for (const { name, prompt, nodes = [aNode()], labels = {}, kind, flaws } of cases) {
    t.same(admit(aWorkflow(prompt), labels, nodes), { kind, flaws }, name)
  }
})

t.test('a workflow that some node can run is admitted', async t => {
  const cases: { name: string; prompt: Prompt; nodes?: KnownNode[]; labels?: Record<string, string> }[] = [
    { name: 'on the only node', prompt: aPrompt() },
    { name: 'where one of two lacks a class', prompt: aPrompt(), nodes: [aKnownNode('bare', {}), aNode()] },
    {
      name: 'where one of two lacks the model',
      prompt: aPrompt(),
      nodes: [aNode('gpu-b', { CheckpointLoaderSimple: { options: { ckpt_name: ['other.ckpt'] } } }), aNode()]
    },
    {
      name: 'where only one of two versions of a class requires the input',
      prompt: aPrompt(),
      nodes: [aNode('old'), aNode('new', { KSampler: { required: ['model', 'noise'], options: {} } })]
    },
    { name: 'with a model in the other spelling', prompt: aPrompt({ ckpt_name: 'sdxl/base.safetensors' }) },
    { name: 'with a number and a boolean of their lists', prompt: aPrompt({}, { bits: 16, tiled: true }) },
    {
      name: 'with options outside of their lists, which are for ComfyUI to judge',
      prompt: aPrompt({}, { bits: 4, tiled: false, sampler_name: 'warp' })
    },
    {
      name: 'with a text that only ends like the name of such a file',
      prompt: aPrompt({}, { text: 'a cat. [output]' })
    },
    { name: 'with a literal that is an object, which no list can hold', prompt: aPrompt({}, { bits: { any: 1 } }) },
    {
      name: 'with a dangling graph node whose values nobody has',
      prompt: aPrompt({}, {}, { '9': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'gone.ckpt' } } })
    },
    {
      name: 'with a dangling graph node without its inputs',
      prompt: aPrompt({}, {}, { '9': { class_type: 'KSampler' } })
    },
    ...['sub/dog.png', 'sub\\dog.png', 'dog.png [input]', 'cat.png'].map(image => ({
      name: `with the upload ${image}`,
      prompt: aPrompt({}, { mask: ['4', 0] }, { '4': { class_type: 'LoadImage', inputs: { image } } })
    })),
    {
      name: 'on the node with the labels',
      prompt: aPrompt(),
      nodes: [aKnownNode('bare', {}), aNode('gpu-a', {}, { gpu: 'L4', zone: 'x' })],
      labels: { gpu: 'L4' }
    },
    {
      name: 'in a cycle of links, which ends',
      prompt: aPrompt(
        {},
        {},
        { '2': { class_type: 'KSampler', inputs: { model: ['2', 0], steps: 1, sampler_name: 'ddim' } } }
      )
    }
  ]
  for (const { name, prompt, nodes = [aNode()], labels = {} } of cases) {
    t.equal(admit(aWorkflow(prompt), labels, nodes).kind, 'admitted', name)
  }
})

t.test('an admission says what the workflow needs, where its outputs come from and how large it is', async t => {
  const prompt = aPrompt(
    {},
    { mask: ['4', 0] },
    {
      '4': { class_type: 'LoadImage', inputs: { image: 'sub/dog.png' } },
      '75:12': { class_type: 'SaveImage', inputs: { images: ['75:11', 0] } },
      '75:11': { class_type: 'EmptyImage', inputs: { width: 2000, height: 1000 } },
      '9': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'dangling.ckpt' } }
    }
  )
  t.same(admitted(prompt, [aNode('gpu-a', { EmptyImage: {} }, { b: '2', a: '1' })], { b: '2', a: '1' }), {
    need: {
      classes: ['CheckpointLoaderSimple', 'EmptyImage', 'KSampler', 'LoadImage', 'SaveImage'],
      models: [{ classType: 'CheckpointLoaderSimple', input: 'ckpt_name', value: 'sd15.safetensors' }],
      files: [{ classType: 'LoadImage', input: 'image', value: 'sub/dog.png' }],
      labels: { a: '1', b: '2' }
    },
    outputs: ['3', '75:12'],
    work: 40
  })
})

t.test('equal workflows have equal needs whatever the order in which they are written', async t => {
  const prompt = aPrompt(
    {},
    {},
    { '5': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'sd15.safetensors' } } }
  )
  const backwards = Object.fromEntries(
    Object.entries(prompt).map(([id, graphNode]) => [`x${99 - Number(id)}`, graphNode])
  )
  const renamed = JSON.parse(JSON.stringify(backwards).replaceAll(/\["(\d)",/g, (_, id) => `["x${99 - Number(id)}",`))
  const one = admitted(prompt)
  t.same(JSON.stringify(admitted(renamed).need), JSON.stringify(one.need))
})

t.test('a model is recognised by its value, not by a list of loaders', async t => {
  const drafts = {
    Odd: {
      output: true as const,
      options: { folder: ['styles/one', 'b.safetensors'], mode: ['fast', 'slow'] },
      uploads: ['clip']
    }
  }
  const cases: [string, object, string[]][] = [
    ['a file that is listed', { folder: 'b.safetensors' }, ['b.safetensors']],
    ['a folder listed among files', { folder: 'styles/one' }, ['styles/one']],
    ['a free input that names a file', { anything: 'x.GGUF' }, ['x.GGUF']],
    ['a Windows path', { anything: 'a\\b.ckpt' }, ['a/b.ckpt']],
    ['one file in two inputs', { folder: 'b.safetensors', anything: 'b.safetensors' }, ['b.safetensors']],
    ['an option that is no file', { mode: 'fast' }, []],
    ['an uploaded file', { clip: 'voice.bin' }, []],
    ['a text, a number, a boolean and nothing', { text: 'a cat', seed: 7, flag: true, none: null }, []]
  ]
  for (const [name, inputs, models] of cases) {
    const { need } = admitted({ '1': { class_type: 'Odd', inputs: { ...inputs } } }, [aKnownNode('n', drafts)])
    t.same(modelsOf(need), models, name)
  }
  for (const ending of 'safetensors sft ckpt pt pt2 pth bin pkl gguf onnx engine torchscript'.split(' ')) {
    t.equal(isModelFile(`a.${ending}`), true, ending)
  }
  for (const value of ['a.png', 'safetensors', 'a.safetensors.txt', '']) t.equal(isModelFile(value), false, value)
})

t.test('a capability answers by folded spelling and gives the node its own', async t => {
  const { capability: onNode } = aKnownNode('n', { Load: { options: { image: ['cat.png'] }, uploads: ['image'] } })
  const capability = createCapability({
    ...aCatalog(
      {
        Loader: { options: { name: ['a\\b.ckpt', 'c/d.ckpt', 'None'] }, required: ['name'] },
        Load: { options: { image: ['cat.png'] }, uploads: ['image'] },
        Save: { output: true }
      },
      { 'a\\b.ckpt': 5 }
    )
  })
  const spelling = (classType: string, input: string, value: string) => capability.spelling({ classType, input, value })
  const cases: [string, unknown, unknown][] = [
    ['a listed value in the other spelling', spelling('Loader', 'name', 'a/b.ckpt'), 'a\\b.ckpt'],
    ['and the other way round', spelling('Loader', 'name', 'c\\d.ckpt'), 'c/d.ckpt'],
    ['a value outside of the list', spelling('Loader', 'name', 'e.ckpt'), undefined],
    ['a path outside of a list that is not for uploads', spelling('Loader', 'name', 'sub/e.ckpt'), undefined],
    ['a free input', spelling('Loader', 'text', 'a\\b'), 'a\\b'],
    ['an input that is named like something every object has', spelling('Loader', 'constructor', 'x'), 'x'],
    ['an unknown class', spelling('toString', 'name', 'x'), 'x'],
    [
      'an uploaded file at the top',
      onNode.spelling({ classType: 'Load', input: 'image', value: 'dog.png' }),
      undefined
    ],
    [
      'an uploaded file that is there',
      onNode.spelling({ classType: 'Load', input: 'image', value: 'cat.png' }),
      'cat.png'
    ],
    [
      'an uploaded file in a subfolder',
      onNode.spelling({ classType: 'Load', input: 'image', value: 'sub/dog.png' }),
      'sub/dog.png'
    ],
    ['a class', capability.hasClass('Save'), true],
    ['no class', capability.hasClass('constructor'), false],
    ['an output', capability.isOutput('Save'), true],
    ['no output', capability.isOutput('Load'), false],
    ['an unknown output', capability.isOutput('constructor'), false],
    ['required inputs', capability.required('Loader'), ['name']],
    ['required inputs of an unknown class', capability.required('X'), []],
    ['options', onNode.options('Load', 'image'), ['cat.png']],
    ['options of a free input', capability.options('Load', 'x'), undefined],
    ['a list with models', capability.listsModels('Loader', 'name'), true],
    ['a list without', capability.listsModels('Load', 'image'), false],
    ['bytes in the other spelling', capability.modelBytes('a/b.ckpt'), 5],
    ['unknown bytes', capability.modelBytes('c/d.ckpt'), undefined],
    ['all models', capability.models(), ['a\\b.ckpt', 'c/d.ckpt']],
    ['folding', foldPath('a\\b/c\\d'), 'a/b/c/d']
  ]
  for (const [name, found, wanted] of cases) t.same(found, wanted, name)
})

t.test('what a node lacks is named, a missing class without its values', async t => {
  const choice = (classType: string, value: string) => ({ classType, input: 'name', value })
  const need = {
    classes: ['Loader', 'Other'],
    models: [choice('Loader', 'A.safetensors'), choice('Loader', 'Z.safetensors'), choice('Other', 'Z.safetensors')],
    files: [],
    labels: {}
  }
  t.same(lacking(need, aCapability()), ['Other', 'Loader.name = Z.safetensors'])
  t.same(lacking(aNeed('A'), aCapability()), [])
  const cases: [Record<string, string>, Record<string, string>, boolean][] = [
    [{}, {}, true],
    [{}, { a: '1' }, true],
    [{ a: '1' }, { a: '1', b: '2' }, true],
    [{ a: '1' }, { a: '2' }, false],
    [{ a: '1', b: '2' }, { a: '1' }, false]
  ]
  for (const [asked, labels, has] of cases) {
    t.equal(hasLabels(aNeed('A', asked), labels), has, `${JSON.stringify(asked)} of ${JSON.stringify(labels)}`)
  }
})

t.test('reachable is what the outputs depend on, cycles included and dangling links left out', async t => {
  const workflow = aWorkflow({
    a: { class_type: 'X', inputs: { in: ['b', 0], other: ['c:1', 1] } },
    b: { class_type: 'X', inputs: { in: ['a', 0] } },
    'c:1': { class_type: 'X', inputs: { in: ['gone', 0], text: 'b' } },
    d: { class_type: 'X', inputs: { in: ['a', 0] } }
  })
  const cases: [string[], string[]][] = [
    [['a'], ['a', 'b', 'c:1']],
    [['c:1'], ['c:1']],
    [
      ['d', 'b'],
      ['a', 'b', 'c:1', 'd']
    ],
    [[], []]
  ]
  for (const [from, found] of cases) t.same([...reachable(workflow, from)].sort(), found, from.join(' and '))
})

t.test('work is megapixel·steps, 1 where a workflow names neither', async t => {
  const size = { width: 1000, height: 1000 }
  const cases: [string, Record<string, unknown>[], number][] = [
    ['nothing', [], 1],
    ['a text', [{ text: 'x' }], 1],
    ['steps alone', [{ steps: 20 }], 20],
    ['pixels alone', [{ ...size }], 1],
    ['both', [{ steps: 20 }, { width: 512, height: 512 }], 20 * 0.262144],
    ['a batch', [{ steps: 2, ...size, batch_size: 4 }], 8],
    ['a video', [{ steps: 2, ...size, length: 49 }], 98],
    ['two samplers over the larger size', [{ steps: 2 }, { steps: 3 }, size, { width: 2000, height: 1000 }], 10],
    ['a linked size', [{ steps: 2, width: ['1', 0], height: 512 }], 2],
    ['texts and negative numbers', [{ steps: '20', width: -5, height: 512 }], 1],
    ['at least a hundredth', [{ width: 10, height: 10 }], 0.01],
    ['at most a million', [{ steps: 1e9 }], 1e6]
  ]
  for (const [name, inputs, work] of cases) {
    const prompt = Object.fromEntries(inputs.map((one, i) => [`${i}`, { class_type: 'X', inputs: one }]))
    const found = workOf([...aWorkflow(prompt).graphNodes.values()])
    t.ok(Math.abs(found - work) < 1e-9, `${name}: ${found}`)
  }
})

/** The size of a task whose graph never ran. */
const unknown = (work: number) => ({ work, knownSeconds: undefined })

t.test('prediction: load of what is missing, execution by node, by fleet or by guess', async t => {
  const capability = createCapability(aCatalog({}, { 'A.safetensors': 30e9, 'B.safetensors': 10e9 }))
  const both = { ...aNeed('A'), models: [...aNeed('A').models, ...aNeed('B').models] }
  const learned = {
    load: { fleet: 8, byNode: new Map([['n1', 4]]) },
    execution: { fleet: 0.5, byNode: new Map([['n1', 0.25]]) }
  }
  const nothing = { load: { fleet: undefined, byNode: new Map() }, execution: { fleet: undefined, byNode: new Map() } }
  const cases: [
    string,
    string,
    ReadonlySet<string>,
    ReturnType<typeof aNeed>,
    typeof learned | typeof nothing | undefined,
    number,
    number
  ][] = [
    ['cold, nothing learned', 'n1', holding(), both, undefined, 40, 3],
    ['cold, an empty record', 'n1', holding(), both, nothing, 40, 3],
    ['warm', 'n1', holding('A', 'B', 'C'), both, undefined, 0, 3],
    ['the smaller model resident', 'n1', holding('B'), both, undefined, 30, 3],
    ['the larger model resident', 'n1', holding('A'), both, undefined, 10, 3],
    ['learned on this node', 'n1', holding(), both, learned, 4, 2.5],
    ['learned on this node, partly resident', 'n1', holding('A'), both, learned, 1, 2.5],
    ['learned in the fleet', 'n2', holding(), both, learned, 8, 5],
    ['learned in the fleet, warm', 'n2', holding('A', 'B'), both, learned, 0, 5],
    ['a model of unknown size', 'n1', holding(), aNeed('C'), undefined, 6, 3],
    ['no model', 'n1', holding(), aNeed(), learned, 0, 2.5]
  ]
  for (const [name, id, resident, need, known, loadSeconds, executionSeconds] of cases) {
    t.same(
      predict(ratesOf({ id, capability, resident, pace: noPace }, need, known), unknown(10)),
      { loadSeconds, executionSeconds },
      name
    )
  }
  const instant = predict(
    ratesOf({ id: 'n1', capability, resident: holding(), pace: noPace }, aNeed(), aLearned(0, { n1: 0.001 })),
    unknown(0.01)
  )
  t.equal(instant.executionSeconds, 0.05, 'nothing takes no time at all')
})

/** Nodes as fast as told, that learn from one attempt after another. */
const aFleet = (speeds: Readonly<Record<string, number>>) => {
  const capability = createCapability(aCatalog({}, { 'A.safetensors': 6e9, 'B.safetensors': 6e9 }))
  const needs = new Map<string, Known['learned']>()
  const paces = new Map<string, Known['pace']>()
  const graphs = new Map<string, number>()
  return {
    run(node: string, model: string, seconds: number, { graph = model, loads = false, stalls = 1 } = {}): void {
      const taken = seconds / speeds[node]!
      const before = {
        learned: needs.get(model) ?? noDurations,
        pace: paces.get(node) ?? noPace,
        knownSeconds: graphs.get(graph)
      }
      const spent = { loadSeconds: loads ? taken : 0, executionSeconds: taken * stalls }
      const after = learn(before, node, 1, spent)
      needs.set(model, after.learned)
      paces.set(node, after.pace)
      graphs.set(graph, after.knownSeconds)
    },
    predicted(node: string, model: string, graph = '') {
      const view = { id: node, capability, resident: holding(), pace: paces.get(node) ?? noPace }
      return predict(ratesOf(view, aNeed(model), needs.get(model)), { work: 1, knownSeconds: graphs.get(graph) })
    }
  }
}

t.test('a need that is new to a node is predicted at the pace of the node, its disk apart from its GPU', async t => {
  const fleet = aFleet({ fast: 1, slow: 0.25 })
  for (let i = 0; i < 12; i++) for (const node of ['fast', 'slow']) fleet.run(node, 'A', 10, { loads: node === 'fast' })
  fleet.run('fast', 'B', 3, { loads: true })
  const { loadSeconds, executionSeconds } = fleet.predicted('slow', 'B')
  t.ok(Math.abs(executionSeconds - 12) < 1.2, `four times as long as where it ran: ${executionSeconds}`)
  t.ok(Math.abs(loadSeconds - 3) < 0.3, `its disk was never compared: ${loadSeconds}`)
  const { executionSeconds: first } = fleet.predicted('slow', 'C')
  t.ok(first > 3 * fleet.predicted('fast', 'C').executionSeconds, 'slower where nobody ran it, too')

  fleet.run('fast', 'A', 10, { stalls: 100 })
  t.ok(fleet.predicted('slow', 'B').executionSeconds < 15, 'a stall elsewhere is not its fault')
  for (let i = 0; i < 400; i++) for (const node of ['fast', 'slow']) fleet.run(node, 'A', 10)
  const later = fleet.predicted('slow', 'B').executionSeconds
  t.ok(Math.abs(later - 12) < 1.2, `means and paces do not drift apart: ${later}`)
})

t.test('a graph that ran before is predicted by what it took, on any node', async t => {
  const fleet = aFleet({ fast: 1, slow: 0.25 })
  const both = (times: number) => {
    for (let i = 0; i < times; i++) for (const node of ['fast', 'slow']) fleet.run(node, 'A', 10, { graph: 'short' })
  }
  const of = (node: string, graph: string) => fleet.predicted(node, 'A', graph).executionSeconds
  const isNear = (node: string, graph: string, seconds: number) =>
    t.ok(Math.abs(of(node, graph) - seconds) < seconds / 10, `${graph} on ${node}: ${of(node, graph)}`)
  both(12)
  fleet.run('slow', 'A', 100, { graph: 'long' })
  t.ok(of('fast', 'long') > 5 * of('fast', 'short'), 'where it never ran, too')
  both(12)
  isNear('fast', 'short', 10)
  isNear('slow', 'short', 40)
  isNear('fast', 'long', 100)
  isNear('slow', 'long', 400)
  isNear('fast', 'unknown', 10)
  fleet.run('fast', 'A', 100, { graph: 'long', stalls: 50 })
  t.ok(of('fast', 'long') < 200, 'a stall counts as three times as long')
})

t.test(
  'etaSeconds: the node that holds its models and those that go first there, or a turn in the fleet and a load',
  async t => {
    const task = { needId: 'A', need: aNeed('A'), work: 10, knownSeconds: undefined }
    const usual = { load: 8, execution: 1 }
    const alone = { before: 0, inQueue: 1, ofTenant: 1, others: [] }
    const node = (model: string, leftSeconds?: number, more: Partial<NodeAhead> = {}): NodeAhead => ({
      ...{ holds: holding(model), endsMs: leftSeconds === undefined ? undefined : leftSeconds * 1000, pace: noPace },
      ...more
    })
    /** So many of each that wait, with the seconds that each executes. */
    const waiting = (...kinds: [model: string, count: number, seconds: number][]) =>
      kinds.flatMap(([model, count, work]) =>
        Array.from({ length: count }, () => ({ needId: model, need: aNeed(model), work, knownSeconds: undefined }))
      )
    const slow = { pace: { load: undefined, execution: 3 } }
    const cases: [string, NodeAhead[], ReturnType<typeof waiting>, Partial<Standing & Sized>, number][] = [
      ['a free node holds its model', [node('A'), node('B', 4)], [], {}, 10],
      ['its graph ran before', [node('A')], [], { knownSeconds: 7 }, 7],
      ['a free node loads it', [node('B'), node('B', 4)], [], {}, 18],
      ['the one that holds it is free sooner than a load ends', [node('B'), node('A', 4)], [], {}, 14],
      ['or later', [node('B'), node('A', 40)], [], {}, 18],
      ['slower nodes', [node('A', undefined, slow)], [], {}, 30],
      ['of two, half are as slow', [node('A', 6), node('A', 6, slow)], [], {}, 6 + 15],
      [
        'those before it share the nodes that hold its model',
        [node('A', 2), node('A', 6)],
        waiting(['A', 4, 5]),
        { before: 4, inQueue: 5, ofTenant: 5 },
        2 + 10 + 10
      ],
      [
        'longer ones let it go first',
        [node('A', 2)],
        waiting(['A', 2, 100]),
        { before: 2, inQueue: 3, ofTenant: 3 },
        2 + 20 + 10
      ],
      [
        'of other tenants those of its kind count there',
        [node('A', 2), node('B', 900)],
        waiting(['A', 1, 10], ['B', 3, 10]),
        { others: [500] },
        2 + 2.5 + 10
      ],
      [
        'none holds it: its turn among all, the loads ahead and its own',
        [node('B', 2), node('B', 4)],
        waiting(['B', 2, 20], ['C', 1, 5]),
        { before: 0, inQueue: 1, ofTenant: 4 },
        (6 + 8) / 2 + 8 + 10
      ],
      [
        'all of its tenant before it',
        [node('B', 2), node('B', 4)],
        waiting(['A', 3, 20]),
        { before: 3, inQueue: 3, ofTenant: 3 },
        (6 + 60) / 2 + 8 + 10
      ],
      [
        'a long queue spreads over nodes that load',
        [node('A', 2), ...[node('B', 2), node('B', 2), node('B', 2)]],
        waiting(['A', 100, 10]),
        { before: 100, inQueue: 101, ofTenant: 101 },
        (8 + 1000) / 4 + 8 + 10
      ]
    ]
    for (const [name, nodes, queue, more, seconds] of cases) {
      const needs = needsAhead(queue, () => usual)
      const found = etaSeconds({ ...task, ...more }, { ...alone, ...more }, usual, {
        nowMs: 0,
        nodes,
        nodesFor: () => nodes,
        needs
      })
      t.ok(Math.abs(found! - seconds) < 1e-6, `${name}: ${found}, ${seconds}`)
    }
    const outlook = { nowMs: 0, nodes: [node('A')], nodesFor: () => [], needs: needsAhead([], () => usual) }
    t.equal(etaSeconds(task, alone, usual, outlook), undefined, 'no node may take it')
    t.equal(etaSeconds(task, alone, { load: 8, execution: undefined }, outlook), undefined, 'nothing was learned')
  }
)

t.test('each class of failure has its own budget, and back-off is full jitter up to a minute', async t => {
  const budgets: Record<RetryClass, [number, boolean]> = {
    node: [3, true],
    'comfyui-died': [3, false],
    lost: [10, false],
    placement: [10, false],
    'out-of-memory': [2, false],
    'hand-back': [Number.MAX_SAFE_INTEGER, false]
  }
  t.same(
    Object.fromEntries(Object.entries(retryRules).map(([name, rule]) => [name, [rule.budget, rule.delayed]])),
    budgets
  )
  for (const [name, { exhausted }] of Object.entries(retryRules)) {
    t.equal(problemTable[exhausted].status, 0, `${name} ends in a code of a failed task`)
  }
  const most = [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
  for (const [failures, ceiling] of [...most.entries(), [1_000, 60_000] as const, [5_000, 60_000] as const]) {
    t.equal(backoffMs(failures, 0), 0, `after ${failures} failures it may be at once`)
    t.equal(backoffMs(failures, 0.5), ceiling / 2, `half of ${ceiling} ms in the middle`)
    t.ok(backoffMs(failures, 1 - Number.EPSILON) < ceiling, `less than ${ceiling} ms`)
  }
})

t.test('the states are those of the design: every arrow of the diagram, and none out of an end', async t => {
  const states = Object.keys(transitions) as LedgerState[]
  const diagram: [LedgerState, LedgerState][] = [
    ['queued', 'leased'],
    ['leased', 'running'],
    ['running', 'succeeded'],
    ['running', 'failed'],
    ['leased', 'queued'],
    ['running', 'queued'],
    ['running', 'delayed'],
    ['delayed', 'queued'],
    ['queued', 'expired'],
    ...(['queued', 'leased', 'running', 'delayed'] as const).map((from): [LedgerState, LedgerState] => [
      from,
      'cancelled'
    ])
  ]
  for (const [from, to] of diagram) t.ok(transitions[from].includes(to), `${from} → ${to}`)
  t.same([...states].sort(), [...taskStates, 'leased', 'delayed'].sort())
  t.same(states.filter(isTerminal).sort(), ['cancelled', 'expired', 'failed', 'succeeded'])
  for (const state of states) {
    t.ok(
      transitions[state].every(to => states.includes(to) && to !== state),
      `${state} leads to other known states`
    )
    t.ok(isTerminal(state) || transitions[state].includes('cancelled'), `${state} ends or can be cancelled`)
    t.equal(
      shownState(state),
      state === 'leased' || state === 'delayed' ? 'queued' : state,
      `${state} as callers see it`
    )
  }
})

const corpus = '/work/shared/workflows-corpus'

t.test(
  'real workflows: every model file is recognised by value',
  { skip: !existsSync(corpus) && 'skipped: no corpus here' },
  async t => {
    const [head, ...lines] = readFileSync(`${corpus}/INDEX.tsv`, 'utf8').trimEnd().split('\n')
    const column = (line: string, name: string): string[] => {
      const cell = line.split('\t')[head!.split('\t').indexOf(name)] ?? '-'
      return cell === '-' ? [] : cell.split(', ')
    }
    t.equal(lines.length, 36)
    t.equal(readdirSync(corpus).filter(file => file.endsWith('.json')).length, lines.length)
    for (const line of lines) {
      const [file] = column(line, 'file')
      const prompt: Prompt = JSON.parse(readFileSync(`${corpus}/${file}`, 'utf8'))
      const nodes = [aKnownNode('own', classesOf(prompt, column(line, 'media_inputs')))]
      const { need, outputs } = admitted(prompt, nodes)
      const named = new Set(column(line, 'model_files').map(foldPath))
      t.same(modelsOf(need), [...named].sort(), `${file}: its models, no more and no less`)
      t.ok(outputs.length > 0, `${file}: outputs`)
      t.same(
        [...new Set(need.files.map(choice => `${choice.classType}.${choice.input}`))].sort(),
        [...new Set(column(line, 'media_inputs').filter(input => namesFile(prompt, input)))].sort(),
        `${file}: its uploads`
      )
    }
  }
)

/** Whether some graph node's input of this class and name is a file of the node's, and not a URL. */
const namesFile = (prompt: Prompt, classInput: string): boolean =>
  Object.values(prompt).some(({ class_type, inputs = {} }) =>
    Object.entries(inputs).some(
      ([input, value]) => `${class_type}.${input}` === classInput && !String(value).startsWith('https://')
    )
  )

/** The classes that a workflow uses, ends of the graph as outputs: a catalog without any option list. */
const classesOf = (prompt: Prompt, media: readonly string[]): Parameters<typeof aKnownNode>[1] => {
  const linked = new Set(
    Object.values(prompt).flatMap(({ inputs = {} }) =>
      Object.values(inputs).flatMap(value => (Array.isArray(value) ? [String(value[0])] : []))
    )
  )
  const drafts: Record<string, { output?: true; uploads: string[] }> = {}
  for (const [id, { class_type }] of Object.entries(prompt)) {
    const uploads = media.filter(one => one.startsWith(`${class_type}.`)).map(one => one.slice(class_type.length + 1))
    const isEnd = !linked.has(id) || drafts[class_type]?.output === true
    drafts[class_type] = { uploads, ...(isEnd ? { output: true } : {}) }
  }
  return drafts
}

t.test('out of memory: once more here, then only where there is more VRAM, then nowhere', async t => {
  t.same(afterOutOfMemory(0, 24e9, [24e9]), { again: true })
  t.same(afterOutOfMemory(0, undefined, []), { again: true })
  t.same(afterOutOfMemory(1, 24e9, [12e9, 24e9, 48e9, undefined]), { vramAboveBytes: 24e9 })
  t.equal(afterOutOfMemory(1, 24e9, [12e9, 24e9, undefined]), undefined, 'nobody is known to have more')
  t.equal(afterOutOfMemory(1, undefined, [48e9]), undefined, 'a node that does not tell cannot be compared')
})

t.test('the fingerprint of a workflow ignores seeds, file names and the order of keys, and nothing else', async t => {
  const graph = (inputs: Record<string, unknown>, classType = 'KSampler') => {
    const values = Object.entries(inputs).map(([name, value]) =>
      Array.isArray(value)
        ? ([name, { kind: 'link', graphNode: value[0], slot: value[1] }] as const)
        : ([name, { kind: 'literal', value }] as const)
    )
    const node = { id: '3', classType, title: undefined, inputs: Object.fromEntries(values) }
    return fingerprintText({ graphNodes: new Map([['3', node]]) })
  }
  const base = graph({ seed: 1, noise_seed: 2, filename_prefix: 'a', steps: 20, model: ['4', 0] })
  t.equal(graph({ model: ['4', 0], steps: 20, seed: 7, noise_seed: 8, filename_prefix: 'b' }), base)
  t.equal(graph({ model: ['4', 0], steps: 20 }), base, 'an input that does not count may be absent')
  t.not(graph({ seed: 1, steps: 21, model: ['4', 0] }), base)
  t.not(graph({ seed: 1, steps: 20, model: ['4', 1] }), base)
  t.not(graph({ seed: ['9', 0], steps: 20, model: ['4', 0] }), base, 'a seed that comes over a link')
  t.not(graph({ steps: 20, model: ['4', 0] }, 'Other'), base)
})

t.test('a group is as far as its tasks are on average; what has ended or is gone counts in full', async t => {
  const queued = { state: 'queued', percent: 0 } as const
  t.same(groupProgress(2, [queued, queued]).percent, 0)
  const members = [queued, { state: 'running', percent: 50 }, { state: 'failed', percent: 0 }] as const
  t.same(groupProgress(4, members), {
    counts: { queued: 1, running: 1, succeeded: 0, failed: 1, cancelled: 0, expired: 0, gone: 1 },
    percent: 62
  })
  t.equal(groupProgress(3, [{ state: 'succeeded', percent: 100 }, queued, queued]).percent, 33)
})

t.test('a seed is a whole number under one of the names that samplers use', async t => {
  const prompt: Prompt = {
    '1': { class_type: 'KSampler', inputs: { seed: 7, steps: 20 } },
    '2': { class_type: 'RandomNoise', inputs: { noise_seed: 2 ** 64 } },
    '3': { class_type: 'KSampler', inputs: { seed: ['1', 0] } },
    '4': { class_type: 'Other', inputs: { seed: 'text', seed_behaviour: 1, noise_seed: 0.5 } }
  }
  t.same(seedInputsOf(aWorkflow(prompt)), [
    { graphNode: '1', input: 'seed', value: 7 },
    { graphNode: '2', input: 'noise_seed', value: 2 ** 64 }
  ])
})

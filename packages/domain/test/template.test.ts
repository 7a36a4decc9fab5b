import type { Scalar, TemplateContent } from '@comfy-balancer/contract/template'
import t from 'tap'
import { boundInputsOf, placeOf } from '../src/template/bound-input.ts'
import { templateFlaws } from '../src/template/flaws.ts'
import { render } from '../src/template/render.ts'
import { aWorkflow, type Prompt } from './builders.ts'

const prompt: Prompt = {
  '3': { class_type: 'KSampler', inputs: { seed: 0, cfg: 7, latent_image: ['5', 0], add_noise: true } },
  '5': { class_type: 'EmptyLatentImage', inputs: { width: 512, height: 512, batch_size: 1 } },
  '6': { class_type: 'CLIPTextEncode', inputs: { text: 'photo of {{thing}}, {{ style }}, {braces}' } },
  '7': { class_type: 'CLIPTextEncode', inputs: { text: 'blurry' } },
  '12:3': { class_type: 'LoraLoader', inputs: { lora_name: 'a.safetensors', strength_model: 1, tags: [1, 2, 3] } }
}
const workflow = aWorkflow(prompt)

const properties: TemplateContent['input_schema']['properties'] = {
  thing: { type: 'string' },
  style: { type: 'string', enum: ['premium', 'plain'], default: 'plain' },
  avoid: { type: 'string' },
  seed: { type: ['integer', 'string'] },
  look: { type: 'string' },
  strength: { type: 'number' },
  noise: { type: 'boolean' }
}
const bindings: TemplateContent['bindings'] = {
  thing: '6.inputs.text',
  style: { to: '"6".inputs.text', map: { premium: 'luxurious', plain: 'simple' } },
  avoid: '7.inputs.text',
  seed: ['3.inputs.seed'],
  look: { to: '"12:3".inputs.lora_name', map: 'loras' },
  strength: ['12:3.inputs.strength_model', '3.inputs.cfg'],
  noise: '3.inputs.add_noise'
}
const aTemplate = (more: Partial<TemplateContent> = {}): TemplateContent => ({
  input_schema: { properties, required: ['thing'] },
  prompt: {},
  bindings,
  loras: { soft: { name: 'soft.safetensors' } },
  ...more
})

const values = (given: Record<string, Scalar>) =>
  new Map(Object.entries(given).map(([name, value]) => [name, { value, json: JSON.stringify(value) }]))

const rendered = (given: Record<string, Scalar>, more: Partial<TemplateContent> = {}) => {
  const { changes, flaws } = render(aTemplate(more), workflow, values(given))
  return { flaws, texts: Object.fromEntries(changes.map(one => [`${one.graphNode}.${one.input}`, one.json])) }
}

t.test('an input is addressed by its graph node, quoted or not, and its name', async t => {
  t.same(placeOf('"6".inputs.text'), { graphNode: '6', input: 'text' })
  t.same(placeOf('12:3.inputs.a.b'), { graphNode: '12:3', input: 'a.b' })
  for (const wrong of ['text', '6.text', '.inputs.text', '6.inputs.', '"6.inputs.text'])
    t.equal(placeOf(wrong), undefined, wrong)
  t.equal(boundInputsOf(aTemplate()).length, 8)
})

t.test('params take the place of literals, go through maps and into texts', async t => {
  const { texts, flaws } = rendered({
    ...{ thing: 'a {{style}} "cup"', style: 'premium', avoid: 'people', look: 'soft', noise: false },
    ...{ strength: 0.5, seed: '18446744073709551615' }
  })
  t.same(flaws, [])
  t.same(texts, {
    '6.text': JSON.stringify('photo of a {{style}} "cup", luxurious, {braces}'),
    '7.text': '"people"',
    '3.seed': '18446744073709551615',
    '12:3.lora_name': '"soft.safetensors"',
    '12:3.strength_model': '0.5',
    '3.cfg': '0.5',
    '3.add_noise': 'false'
  })
  t.notOk('7.text' in rendered({ thing: 'x' }).texts, 'without a value the graph keeps its own')
  t.same(rendered({}, { output_config: { width: 768 } }).texts['5.width'], '768')
})

t.test('a value that the graph cannot take is a flaw of its param', async t => {
  for (const [given, code, words] of [
    [{ look: 'hard' }, 'enum', /must be one of soft/],
    [{ look: 'toString' }, 'enum', /must be one of soft/],
    [{ seed: 'twelve' }, 'type', /must be a number/],
    [{ seed: '007' }, 'type', /must be a number/],
    [{ noise: 'yes' }, 'type', /true or false/],
    [{ avoid: 3 }, 'type', /must be a text/]
  ] as [Record<string, Scalar>, string, RegExp][]) {
    t.match(rendered(given).flaws, [{ pointer: `/params/${Object.keys(given)[0]}`, code, detail: words }])
  }
})

t.test('a template is checked against its graph', async t => {
  t.same(templateFlaws(aTemplate(), workflow), [])
  const param = (more: object) => ({ input_schema: { properties: { ...properties, ...more }, required: ['thing'] } })
  const bound = (more: object) => ({ bindings: { ...bindings, ...more } as TemplateContent['bindings'] })
  const cases: [string, Partial<TemplateContent>, string, string][] = [
    ['param without binding', param({ extra: { type: 'string' } }), '/input_schema/properties/extra', 'not-bound'],
    ['binding without param', bound({ extra: '3.inputs.cfg' }), '/bindings/extra', 'unknown-param'],
    [
      'required without param',
      { input_schema: { properties, required: ['thing', 'nothing'] } },
      '/input_schema/required/1',
      'unknown-param'
    ],
    ['no address', bound({ avoid: 'text' }), '/bindings/avoid', 'target'],
    ['no graph node', bound({ avoid: '70.inputs.text' }), '/bindings/avoid', 'target'],
    ['no such input', bound({ avoid: '7.inputs.txt' }), '/bindings/avoid', 'target'],
    ['inherited name', bound({ avoid: '7.inputs.toString' }), '/bindings/avoid', 'target'],
    ['a link', bound({ avoid: '3.inputs.latent_image' }), '/bindings/avoid', 'target'],
    ['a list', bound({ avoid: '12:3.inputs.tags' }), '/bindings/avoid', 'target'],
    ['text into number', bound({ avoid: '5.inputs.width' }), '/bindings/avoid', 'type'],
    ['number into text', bound({ avoid: '5.inputs.width', strength: '7.inputs.text' }), '/bindings/strength', 'type'],
    ['map of another type', bound({ look: { to: '12:3.inputs.lora_name', map: { a: 1 } } }), '/bindings/look', 'type'],
    [
      'map with a gap',
      {
        ...param({ look: { type: 'string', enum: ['a', 'b'] } }),
        ...bound({ look: { to: '12:3.inputs.lora_name', map: { a: 'x' } } })
      },
      '/bindings/look',
      'map'
    ],
    ['two for one place', bound({ look: '7.inputs.text' }), '/bindings/look', 'bound-twice'],
    ['beside a placeholder', bound({ avoid: '6.inputs.text' }), '/bindings/avoid', 'no-placeholder'],
    ['may stay empty', { input_schema: { properties, required: [] } }, '/input_schema/properties/thing', 'no-default'],
    ['nobody fills it', bound({ style: '3.inputs.cfg' }), '/prompt/6/inputs/text', 'placeholder'],
    [
      'size twice',
      { output_config: { width: 8 }, ...bound({ strength: '5.inputs.width' }) },
      '/output_config/width',
      'bound-twice'
    ],
    ['quality of png', { output_config: { quality: 5 } }, '/output_config/quality', 'quality']
  ]
  for (const [what, more, pointer, code] of cases) {
    const flaws = templateFlaws(aTemplate(more), workflow)
    t.ok(
      flaws.some(flaw => flaw.pointer === pointer && flaw.code === code),
      `${what}: ${JSON.stringify(flaws)}`
    )
  }
  const bare = aWorkflow({ '1': { class_type: 'LoadImage', inputs: { image: 'a.png' } } })
  const nothing = { input_schema: { properties: {} }, prompt: {}, bindings: {} }
  t.match(templateFlaws({ ...nothing, output_config: { height: 8, quantity: 2 } }, bare), [
    { pointer: '/output_config/height', code: 'no-size' },
    { pointer: '/output_config/quantity', code: 'no-seed' }
  ])
})

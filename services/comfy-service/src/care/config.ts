import { type ConfigFault, filePath } from '@comfy-balancer/service-kit/config'
import { type Static, Type } from '@sinclair/typebox'
import { readCommand } from './command.ts'

const share = (description: string) => Type.Optional(Type.Number({ minimum: 0, maximum: 1, description }))

/** The variables that say how comfy-service looks after its ComfyUI. */
export const careConfig = {
  COMFYUI_COMMAND: Type.Optional(
    Type.String({
      description:
        'With this comfy-service starts ComfyUI itself, in COMFYUI_DIR where that is set, restarts it when it dies or hangs, and stops it in the end: a JSON list of the program and its arguments, such as ["python", "main.py", "--port", "8188"]. Of the environment ComfyUI sees everything but the variables of this table'
    })
  ),
  COMFYUI_START_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 3_600,
    default: 300,
    description: 'How long a ComfyUI that was started may take until it answers'
  }),
  COMFYUI_STOP_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 300,
    default: 10,
    description:
      'How long ComfyUI is given to end after SIGTERM; then comes SIGKILL. At a shutdown this comes on top of SHUTDOWN_SECONDS'
  }),
  COMFYUI_WARM_UP: Type.Optional(
    filePath({
      description:
        'A workflow in API format that ComfyUI must have run after each of its starts before its node is given tasks; what it makes is thrown away'
    })
  ),
  COMFYUI_WARM_UP_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 86_400,
    default: 600,
    description: 'How long that may take'
  }),
  COMFYUI_IDLE_SECONDS: Type.Integer({
    minimum: 1,
    maximum: 86_400,
    default: 60,
    description: 'How long ComfyUI must have been idle before the three bounds below count'
  }),
  COMFYUI_FREE_ABOVE_VRAM: share(
    "Above this share of its GPU's memory in use, by whomever, an idle ComfyUI drops its models, once, and only while no waiting task needs them. Absent: never"
  ),
  COMFYUI_RESTART_ABOVE_VRAM: share('The same, and when that did not help ComfyUI is restarted. Absent: never'),
  COMFYUI_RESTART_ABOVE_RAM: share("The same for the machine's memory. Absent: never")
}

type CareConfig = { readonly [Name in keyof typeof careConfig]: Static<(typeof careConfig)[Name]> }

const ownersOnly = ['COMFYUI_RESTART_ABOVE_VRAM', 'COMFYUI_RESTART_ABOVE_RAM'] as const

/** Refuses a command that cannot be read, and restarts of a ComfyUI that somebody else starts. */
export const careRule = ({ COMFYUI_COMMAND: command, ...given }: Partial<CareConfig>): ConfigFault[] => {
  if (command === undefined)
    return ownersOnly.flatMap(name =>
      given[name] === undefined
        ? []
        : [{ name, message: 'needs COMFYUI_COMMAND: comfy-service can only restart a ComfyUI that it starts' }]
    )
  if (readCommand(command)) return []
  const message = 'must be a JSON list of texts, the program first, such as ["python", "main.py"]'
  return [{ name: 'COMFYUI_COMMAND', message: `${message} (given: ${JSON.stringify(command)})` }]
}

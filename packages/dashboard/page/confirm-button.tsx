import type { ComponentChildren } from 'preact'
import { useRef, useState } from 'preact/hooks'

type Props = {
  readonly label: string
  readonly name?: string
  readonly title: string
  readonly action: string
  readonly children: ComponentChildren
  readonly run: () => Promise<void>
}

/**
 * A button that asks before it does something, and says so when it could not be done. The dialog is always there and only the browser opens
 * and closes it, so that focus is where it belongs before the next key, whatever is drawn again meanwhile.
 */
export const ConfirmButton = ({ label, name = label, title, action, children, run }: Props) => {
  const dialog = useRef<HTMLDialogElement>(null)
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  const confirm = async (): Promise<void> => {
    setBusy(true)
    setError('')
    try {
      await run()
      dialog.current?.close()
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause))
    }
    setBusy(false)
  }
  return (
    <>
      <button type="button" class="small" aria-label={name} onClick={() => dialog.current?.showModal()}>
        {label}
      </button>
      <dialog ref={dialog} aria-label={title} onClose={() => setError('')}>
        <h2 class="dialog-title">{title}</h2>
        <p>{children}</p>
        {error && (
          <p class="bad-text" role="alert">
            {error}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={() => dialog.current?.close()}>
            Not now
          </button>
          <button type="button" class="primary" disabled={isBusy} onClick={confirm}>
            {action}
          </button>
        </div>
      </dialog>
    </>
  )
}

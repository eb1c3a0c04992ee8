import { useEffect, useState } from 'preact/hooks';
import type { Visibility } from '../api';
import { notify } from '../notices';
import { choose, dropped, isFileDrag, pasted, type Picked } from '../uploads/pick';
import type { Transfers } from '../uploads/transfers';
import { GlobeIcon, LinkIcon, LockIcon } from './icons';
import { Segments } from './segments';

const VISIBILITIES = [
  { value: 'private', label: 'Only me', content: <LockIcon /> },
  { value: 'link', label: 'With a link', content: <LinkIcon /> },
  { value: 'public', label: 'Everyone', content: <GlobeIcon /> },
] as const;

/** Where files come in: the whole window takes drops and pastes, the button opens the file dialog. */
export function DropZone({ transfers }: { transfers: Transfers }) {
  const [visibility, setVisibility] = useState<Visibility>('private');
  const add = (picking: Promise<Picked[]>) =>
    picking
      .then((picked) => transfers.add(picked, visibility))
      .catch(() => notify('The files could not be read.', { failed: true }));
  const over = useWindowDrop((transfer) => void add(dropped(transfer)));
  useWindowPaste((transfer) => void add(Promise.resolve(pasted(transfer, new Date()))));

  return (
    <section class={over ? 'card drop over' : 'card drop'} aria-labelledby="drop-title">
      <div class="drop-call">
        <h1 id="drop-title">{over ? 'Let go to upload' : 'Drop files anywhere'}</h1>
        <p class="muted">
          Or paste them. Uploads go on after a lost connection or a reload.
        </p>
        <button type="button" class="button primary large" onClick={() => void add(choose(true))}>
          Choose files
        </button>
      </div>
      <Segments
        legend="Who can see new files"
        name="visibility"
        value={visibility}
        options={VISIBILITIES}
        onChange={setVisibility}
      />
    </section>
  );
}

/** Takes files dropped anywhere on the page; true while some hover over it. */
function useWindowDrop(onDrop: (transfer: DataTransfer) => void): boolean {
  const [over, setOver] = useState(false);
  useEffect(() => {
    // Entering a child fires before leaving its parent; only the count tells when the window is left.
    let depth = 0;
    const listeners = {
      dragenter(event: DragEvent) {
        if (!isFileDrag(event.dataTransfer)) return;
        depth += 1;
        setOver(true);
      },
      dragleave(event: DragEvent) {
        if (!isFileDrag(event.dataTransfer)) return;
        depth = Math.max(0, depth - 1);
        if (depth === 0) setOver(false);
      },
      dragover(event: DragEvent) {
        if (isFileDrag(event.dataTransfer)) event.preventDefault();
      },
      drop(event: DragEvent) {
        depth = 0;
        setOver(false);
        if (!event.dataTransfer || !isFileDrag(event.dataTransfer)) return;
        event.preventDefault();
        onDrop(event.dataTransfer);
      },
    };
    const entries = Object.entries(listeners) as [keyof typeof listeners, (event: DragEvent) => void][];
    for (const [type, listener] of entries) addEventListener(type, listener);
    return () => {
      for (const [type, listener] of entries) removeEventListener(type, listener);
    };
  });
  return over;
}

function useWindowPaste(onPaste: (transfer: DataTransfer) => void): void {
  useEffect(() => {
    const listener = (event: ClipboardEvent) => {
      if (!event.clipboardData?.files.length) return;
      event.preventDefault();
      onPaste(event.clipboardData);
    };
    addEventListener('paste', listener);
    return () => removeEventListener('paste', listener);
  });
}

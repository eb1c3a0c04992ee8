import { dismiss, hold, type Notice, notices, release } from '../notices';
import { useStore } from '../store';
import { CheckIcon, CloseIcon, WarnIcon } from './icons';

export function Notices() {
  const list = useStore(notices);
  return (
    <section class="notices" aria-label="Notices">
      {list.map((notice) => (
        <NoticeCard key={notice.id} notice={notice} />
      ))}
    </section>
  );
}

function NoticeCard({ notice }: { notice: Notice }) {
  const { id, kind, text, action } = notice;
  const act = () => {
    action?.run();
    dismiss(id);
  };
  return (
    <div
      class="notice"
      data-kind={kind}
      onMouseEnter={() => hold(id)}
      onMouseLeave={() => release(id)}
      onFocusIn={() => hold(id)}
      onFocusOut={() => release(id)}
    >
      {kind === 'failed' ? <WarnIcon /> : <CheckIcon />}
      <p>{text}</p>
      {action && (
        <button type="button" class="button accent small" onClick={act}>
          {action.label}
        </button>
      )}
      <button type="button" class="button quiet icon-only small" aria-label="Close this notice" onClick={() => dismiss(id)}>
        <CloseIcon />
      </button>
    </div>
  );
}
